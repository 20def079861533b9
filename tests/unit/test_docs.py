"""The reference pages keep up with the code: settings, routes, error codes, scopes, commands."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import tenantry
from tenantry.api import problems
from tenantry.api.app import create_app
from tenantry.base import errors
from tenantry.base.settings import Settings
from tenantry.cli.main import program
from tenantry.control.keys import SCOPES
from tenantry.services.migrations import lint

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def test_every_setting_is_told() -> None:
    """And no other."""
    told = re.findall(r"^\| `(TENANTRY_\w+)` \|", page("reference/settings.md"), re.MULTILINE)
    assert sorted(told) == sorted(each.name for each in Settings.variables())


def test_every_route_is_told() -> None:
    document = create_app(Settings(home=Path("/nowhere"))).openapi()
    told = page("reference/api.md")
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"| `{method.upper()} {path.replace('{identifier}', '{id}')}` |" in told


def test_every_error_is_told_as_it_is() -> None:
    """The page has the code and the title of each problem, and of no others."""
    for module in pkgutil.walk_packages(tenantry.__path__, "tenantry."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    told = re.findall(
        r"^\| `(\w+)` \| (?:(?:\d+ )?\| )?([A-Z][^|]*) \| ",
        page("reference/errors.md"),
        re.MULTILINE,
    )
    assert len(told) == len(set(told))
    here = {
        *_raised(errors.TenantryError),
        *problems._TITLES.values(),
        problems._OTHER,
        *_written(),
    }
    assert set(told) == here


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
def test_every_scope_is_told(scope: str) -> None:
    assert f"`{scope}`" in page("how-to/hand-out-api-keys.md")


def _commands(command: object, words: tuple[str, ...] = ("tenantry",)) -> set[str]:
    below: dict[str, object] = getattr(command, "commands", {})
    if not below:
        return {" ".join(words)}
    return set().union(*(_commands(each, (*words, name)) for name, each in below.items()))


def test_every_command_is_told() -> None:
    told = page("reference/cli.md")
    missing = {name for name in _commands(typer.main.get_command(program())) if name not in told}
    assert not missing


def test_every_lint_rule_is_told() -> None:
    told = page("reference/migration-lint.md")
    for rule in lint.RULES.values():
        assert f"| `{rule.id}` | {rule.what} | {rule.why} | {rule.instead} |" in told


def test_no_page_has_a_dead_link() -> None:
    root = DOCS.parent
    for text in (*DOCS.rglob("*.md"), root / "README.md"):
        for part in text.read_text().split("](")[1:]:
            target = part.split(")")[0].split("#")[0]
            if target and "://" not in target:
                assert (text.parent / target).exists(), f"{text.relative_to(root)}: {target}"
