"""The reference pages keep up with the code: settings, routes, error codes, scopes, commands."""

import ast
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from pydantic import BaseModel

import tenantry
from tenantry.api.app import create_app
from tenantry.api.database_answers import CreatedDatabase
from tenantry.base import errors
from tenantry.base.settings import Settings
from tenantry.cli.main import program
from tenantry.control.keys import SCOPES
from tenantry.services.bodies.databases import CreateDatabase, UpdateDatabase
from tenantry.services.migrations import lint_rules
from tenantry.services.requests import problems

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def test_every_setting_is_reported() -> None:
    """And no other."""
    reported = re.findall(r"^\| `(TENANTRY_\w+)` \|", page("reference/settings.md"), re.MULTILINE)
    assert sorted(reported) == sorted(each.name for each in Settings.variables())


def test_every_route_is_reported() -> None:
    document = create_app(Settings(home=Path("/nowhere"))).openapi()
    reported = page("reference/api.md")
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"| `{method.upper()} {path.replace('{identifier}', '{id}')}` |" in reported


def test_every_error_is_reported_as_it_is() -> None:
    """The page has the code and the title of each problem, and of no others."""
    for module in pkgutil.walk_packages(tenantry.__path__, "tenantry."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    reported = re.findall(
        r"^\| `(\w+)` \| (?:(?:\d+ )?\| )?([A-Z][^|]*) \| ",
        page("reference/errors.md"),
        re.MULTILINE,
    )
    assert len(reported) == len(set(reported))
    here = {
        *_raised(errors.TenantryError),
        *problems._TITLES.values(),
        problems._OTHER,
        *_written(),
    }
    assert set(reported) == here


def _raised(kind: type[errors.TenantryError]) -> set[tuple[str, str]]:
    return {(kind.code, kind.title)}.union(*(_raised(each) for each in kind.__subclasses__()))


def _written() -> Iterator[tuple[str, str]]:
    """The codes and titles that stand together in a call or a dictionary somewhere in the code."""
    for path in Path(tenantry.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(keywords=keywords):
                    found = {each.arg: each.value for each in keywords}
                case ast.Dict(keys=keys, values=values):
                    names = [
                        each.value if isinstance(each, ast.Constant) else None for each in keys
                    ]
                    found = dict(zip(names, values, strict=True))  # type: ignore[arg-type]
                case _:
                    continue
            match found:
                case {
                    "code": ast.Constant(value=str(code)),
                    "title": ast.Constant(value=str(title)),
                }:
                    yield code, title


def test_errors_that_guides_show_have_titles_that_there_are() -> None:
    titles = {title for _, title in _raised(errors.TenantryError)}
    for text in DOCS.rglob("*.md"):
        for title in re.findall(r"^Error: (.*)\.$", text.read_text(), re.MULTILINE):
            assert title in titles, text


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_is_reported(scope: str) -> None:
    assert f"`{scope}`" in page("how-to/hand-out-api-keys.md")


def _commands(command: object, words: tuple[str, ...] = ("tenantry",)) -> set[str]:
    below: dict[str, object] = getattr(command, "commands", {})
    if not below:
        return {" ".join(words)}
    return set().union(*(_commands(each, (*words, name)) for name, each in below.items()))


def test_every_command_is_reported() -> None:
    reported = page("reference/cli.md")
    missing = {
        name for name in _commands(typer.main.get_command(program())) if name not in reported
    }
    assert not missing


def _fields() -> list[str]:
    """The rows of the table of a database's fields."""
    section = page("reference/api.md").partition("## The fields of a database")[2]
    return [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]


def _marked(mark: str) -> set[str]:
    """The fields that are marked as taken at creation (c), changed (u) or answered (a)."""
    rows = [row.split(" | ") for row in _fields()]
    return {
        field
        for names, marks, *_ in rows
        if mark in marks.split()
        for field in re.findall(r"`(\w+)`", names)
    }


@pytest.mark.parametrize(
    ("mark", "model"), [("c", CreateDatabase), ("u", UpdateDatabase), ("a", CreatedDatabase)]
)
def test_every_field_of_a_database_is_documented(mark: str, model: type[BaseModel]) -> None:
    assert _marked(mark) == model.model_fields.keys()


def test_every_lint_rule_is_reported() -> None:
    reported = page("reference/migration-lint.md")
    for rule in lint_rules.RULES.values():
        assert f"| `{rule.id}` | {rule.what} | {rule.why} | {rule.instead} |" in reported


def test_no_page_has_a_dead_link() -> None:
    root = DOCS.parent
    for text in (*DOCS.rglob("*.md"), root / "README.md"):
        for part in text.read_text().split("](")[1:]:
            target = part.split(")")[0].split("#")[0]
            if target and "://" not in target:
                assert (text.parent / target).exists(), f"{text.relative_to(root)}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = page("README.md")
    for text in DOCS.rglob("*.md"):
        name = str(text.relative_to(DOCS))
        if text.parent.name != "decisions" and name != "README.md":
            assert f"({name})" in index


@pytest.mark.parametrize(
    "decision", sorted((DOCS / "decisions").glob("*.md")), ids=lambda path: path.stem
)
def test_every_decision_has_its_parts(decision: Path) -> None:
    text = decision.read_text()
    assert re.search(r"^Date: \d{4}-\d{2}-\d{2}\. Status: ", text, re.MULTILINE)
    parts = ["Context", "Decision", "Alternatives", "Consequences", "Places in the code"]
    assert [part for part in re.findall(r"^## (.*)$", text, re.MULTILINE) if part in parts] == parts


def test_modules_of_tests_have_names_of_their_own() -> None:
    """Pytest imports them by their names alone, since the folders of tests are no packages."""
    root = DOCS.parent
    found = Counter(
        path.name for folder in ("tests", "libs") for path in (root / folder).rglob("test_*.py")
    )
    assert not [name for name, count in found.items() if count > 1]
