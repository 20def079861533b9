"""The grammar of the names of tenants' databases and roles, and that nobody else spells it."""

import ast
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tenantry
from tenantry.base.ids import new_suffix
from tenantry.pg import names
from tenantry.pg.names import Alone, DatabaseName, OfOperation, RoleName

SOURCES = sorted(Path(tenantry.__file__).parent.rglob("*.py"))
SPELT = re.compile(
    r"\b(?:tenant|user)\\?_(?![A-Za-z0-9…])"
    r"|^_(?:shadow|fresh|loaded|restoring|copying|before)_?$"
    r"|tenantry\\*_visitor"
)

suffixes = st.builds(new_suffix)
parts = st.sampled_from((None, *get_args(Alone)))
operations = st.uuids(version=4)


@st.composite
def databases(draw: st.DrawFn) -> str:
    """Names as the platform builds them."""
    main = names.main(draw(suffixes))
    part = draw(st.sampled_from((None, *get_args(Alone), *get_args(OfOperation))))
    if part is None:
        return main
    if part in get_args(OfOperation):
        return names.of_operation(main, part, draw(operations))
    return names.beside(main, part)


@given(databases())
def test_a_name_of_a_database_is_read_as_it_was_built(name: str) -> None:
    read = names.parse_database(name)
    assert read is not None
    assert str(read) == name
    assert len(name.encode()) <= 63
    main, owner = names.main(read.suffix), names.owner(read.suffix)
    assert names.suffix_of(name) == read.suffix
    assert names.owner_of(name) == owner
    assert names.is_tenants_database(name)
    assert names.main_of(name) == (main if read.part in {None, "shadow"} else name)
    assert names.is_beside(name, main) == (read.part not in {None, "shadow"})
    assert name == main or name.startswith(names.beginning_of_those_beside(main))


@given(suffixes, st.none() | st.from_regex(r"[a-z](?:[a-z0-9_]{0,28}[a-z0-9])?", fullmatch=True))
def test_a_name_of_a_role_is_read_as_it_was_built(suffix: str, additional: str | None) -> None:
    owner = names.owner(suffix)
    name = owner if additional is None else names.additional(owner, additional)
    assert names.parse_role(name) == RoleName(suffix, additional)
    assert str(RoleName(suffix, additional)) == name
    assert len(name.encode()) <= 63
    assert names.owner_role(name) == owner
    assert names.is_additional(name) == (additional is not None)
    assert names.database_of(name) == names.main(suffix)
    assert names.owner_of(names.database_of(name)) == owner
    assert names.arrival_roles(name) == (names.main(suffix), names.shadow(names.main(suffix)))
    assert names.is_tenants_role(name)
    assert not names.is_visitor(name)


@given(st.text() | databases() | databases().map(names.shadow))
def test_what_is_read_is_written_the_same(text: str) -> None:
    for read in (names.parse_database(text), names.parse_role(text)):
        assert read is None or str(read) == text


@pytest.mark.parametrize(
    "name",
    ["", "tenant_", "tenant_a_kept", "tenant_a_shadow_shadow", "tenant_a_before_", "postgres"],
)
def test_what_the_platform_does_not_build_is_not_read(name: str) -> None:
    assert names.parse_database(name) is None


def test_what_somebody_has_renamed_by_hand_is_still_its_tenants() -> None:
    assert names.owner_of("tenant_a_kept") == names.owner("a")
    assert names.parse_database("tenant_a") == DatabaseName("a")


def test_a_visitor_has_its_purpose_in_its_name() -> None:
    purpose = f"{uuid.uuid4().hex}_loaded"
    assert names.purpose_of(names.visitor(purpose)) == purpose
    assert names.is_visitor(names.visitor(purpose))
    assert len(names.visitor(purpose)) <= 63


def test_a_visitor_that_runs_the_tenants_statements_is_known_by_its_name() -> None:
    purpose = f"{uuid.uuid4().hex}_{uuid.uuid4().hex[-11:]}"
    running = names.visitor(names.running(purpose))
    assert len(running) <= 63
    assert not names.is_for_the_platform(running)
    assert names.is_for_the_platform(names.visitor(purpose))
    assert not names.is_for_the_platform(names.owner("a"))
    assert not names.is_for_the_platform("")


def _spelt(path: Path) -> Iterator[str]:
    """The strings of a module that are a part of such a name; descriptions are not looked at."""
    tree = ast.parse(path.read_text())
    reported = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in reported and SPELT.search(text):
                yield f"{path.name}:{node.lineno}: {text.strip()[:60]!r}"


def test_only_one_module_spells_these_names() -> None:
    grammar = Path(names.__file__)
    assert list(_spelt(grammar))
    assert not [each for path in SOURCES if path != grammar for each in _spelt(path)]
