"""The reference pages keep up with the code: settings, routes, error codes, scopes, commands."""

from pathlib import Path

import pytest
import typer.main

from tenantry.api.app import create_app
from tenantry.base import errors
from tenantry.base.settings import Settings
from tenantry.cli.main import program
from tenantry.control.keys import SCOPES
from tenantry.services.migrations import lint

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_every_setting_is_told(setting: str) -> None:
    assert f"| `TENANTRY_{setting.upper()}` |" in page("reference/settings.md")


def test_every_route_is_told() -> None:
    document = create_app(Settings(home=Path("/nowhere"))).openapi()
    told = page("reference/api.md")
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"| `{method.upper()} {path.replace('{identifier}', '{id}')}` |" in told


def _codes(kind: type[errors.TenantryError]) -> set[str]:
    return {kind.code}.union(*(_codes(each) for each in kind.__subclasses__()))


def test_every_error_code_is_told() -> None:
    told = page("reference/errors.md")
    assert not {code for code in _codes(errors.TenantryError) if f"`{code}`" not in told}


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
