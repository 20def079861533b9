"""Plain technical English: names and texts have the words of the glossary, and no private ones."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What to write instead of each.
BANNED = {
    r"told|tells?|teller|telling": "report, show, summary, payload",
    r"heirs?": "target, new_owner",
    r"converge\w*|convergence": "reconcile",
    r"mend|mends|mended|mending": "fix, repair",
    r"strangers?": "unmanaged",
    r"doors?": "endpoint, entry point",
    r"guests?": "visitor, session",
    r"worlds?": "state",
    r"anew": "again",
    r"side[ _]?instances?": "side cluster",
    r"unless said": "default: …",
    r"further logins?": "additional role",
}
# In names only; "has begun" is good English.
NAMES_ONLY = {r"begun": "started"}

# (the end of a path, the word): why it stays.
EXCEPTIONS = {
    ("host/engines.py", "mended"): "a key in the records of engines that were built earlier",
    ("unit/test_engines.py", "mended"): "the same",
    ("host/processors.py", "guests"): "virtual machines, in proc(5)",
    ("backup_schedules.py", "begun_at"): "a column of the control database",
    ("tenantry_client/models.py", "begun_at"): "a field of the API",
    ("cli/agent_tools.py", "open_world_hint"): "a field of the Model Context Protocol",
    ("pg/script_loading.py", "tell"): "a method of files",
}


def banned_in(text: str) -> list[str]:
    """Return the banned words of a text. Parts of names with hyphens, such as files, may stay."""
    return re.findall(rf"(?<![\w-])(?:{'|'.join(BANNED)})(?![A-Za-z-])", text, re.IGNORECASE)


def banned_names(source: str) -> Iterator[str]:
    """Yield the banned names that a module defines or uses, except ``tell`` of files."""
    pattern = re.compile(rf"(?:^|_)(?:{'|'.join([*BANNED, *NAMES_ONLY])})(?:_|$)")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr == "tell":
            continue
        for field in ("name", "id", "attr", "arg"):
            name = getattr(node, field, None)
            if isinstance(name, str) and pattern.search(_snake(name)):
                yield name


def banned_texts(source: str) -> Iterator[str]:
    """Yield the banned words in a module's docstrings, messages and comments."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.STRING, tokenize.COMMENT}:
            yield from banned_in(token.string)


def _snake(name: str) -> str:
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _unexplained(look: Callable[[str], Iterable[str]], *patterns: str) -> list[str]:
    paths = {path for pattern in patterns for path in ROOT.glob(pattern)} - {Path(__file__)}
    return [
        f"{path.relative_to(ROOT)}: {word}"
        for path in sorted(paths)
        for word in look(path.read_text())
        if not any(str(path).endswith(end) and word.lower() == each for end, each in EXCEPTIONS)
    ]


def test_names_are_plain() -> None:
    found = _unexplained(
        banned_names, "src/**/*.py", "libs/**/*.py", "tests/**/*.py", "bench/**/*.py"
    )
    assert not found, BANNED | NAMES_ONLY


def test_docstrings_messages_and_comments_are_plain() -> None:
    assert not _unexplained(banned_texts, "src/**/*.py", "libs/*/src/**/*.py"), BANNED


def test_documentation_is_plain() -> None:
    pages = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "libs/*/*.md")
    assert not _unexplained(banned_in, *pages), BANNED


@pytest.mark.parametrize(
    ("source", "names", "texts"),
    [
        ("told = 1", ["told"], []),
        ("class OpenDoor: pass", ["OpenDoor"], []),
        ("def f(heir): return heir.begun_by", ["heir", "begun_by", "heir"], []),
        ('def f():\n    """Mend it anew."""', [], ["Mend", "anew"]),
        ('raise Conflict(f"The newest {version} unless said.")', [], ["unless said"]),
        ("position = file.tell()  # outdoors, worldwide, further logs, unique-tells", [], []),
    ],
)
def test_a_private_word_is_found(source: str, names: list[str], texts: list[str]) -> None:
    assert sorted(banned_names(source)) == sorted(names)
    assert list(banned_texts(source)) == texts
