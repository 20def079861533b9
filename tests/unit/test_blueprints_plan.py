"""A blueprint's folder, read; the versions that it means; and what differs from it."""

import contextlib
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tenantry.base.errors import InvalidInput
from tenantry.pg.descriptions import Description, Thing, differences
from tenantry.services.blueprints import model, plan
from tenantry.services.blueprints.model import (
    BadBlueprint,
    Blueprint,
    BlueprintBackwards,
    BlueprintNotFound,
    Chosen,
    Exposed,
    ForeignMigrations,
)
from tenantry.services.blueprints.service import Catalogue
from tenantry.services.migrations.model import Applied, DirtyDatabase, State
from tenantry.services.migrations.plan import status

NOTES = Path(__file__).parents[1] / "blueprints" / "notes"
FILES = model.read(NOTES)
NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


@pytest.fixture(name="notes")
def _notes() -> Blueprint:
    return model.parse("notes", FILES)


def changed(**files: str | None) -> dict[str, str]:
    """The files of notes, some of them otherwise, or None: not there."""
    reported = {"manifest": "blueprint.toml", "seeds": "seeds/development.sql"}
    together = FILES | {reported.get(name, name): text for name, text in files.items()}
    return {path: text for path, text in together.items() if text is not None}


def manifest(old: str, new: str) -> dict[str, str]:
    assert old in FILES["blueprint.toml"]
    return changed(manifest=FILES["blueprint.toml"].replace(old, new))


def test_a_folder_is_read_whole(notes: Blueprint) -> None:
    assert [(each.number, each.migration) for each in notes.versions] == [(1, 2), (2, 3)]
    assert notes.newest.summary == "a note can be pinned"
    assert [(each.name, each.access) for each in notes.roles] == [("app", "read_write")]
    assert notes.isolation == {"column": "customer_id"}
    assert set(notes.seeds) == {"development"}
    assert len(notes.scripts) == 6
    assert model.parse("notes", notes.files) == notes


@pytest.mark.parametrize(
    "files",
    [
        changed(manifest=None),
        changed(manifest="title = "),
        changed(manifest="a = " + "[" * 5000),
        manifest('title = "Notes"', ""),
        manifest('title = "Notes"', 'title = ""'),
        manifest('title = "Notes"', 'title = "Notes"\nunknown = 1'),
        manifest("migration = 3", "migration = 2"),
        manifest("migration = 3", "migration = 1"),
        manifest("migration = 3", "migration = 4"),
        manifest("migration = 3", 'migration = "3"'),
        manifest("[isolation]", "[data_api]\nauth = true\n[isolation]"),
        manifest("[isolation]", '[data_api]\nschemas = ["api"]\nauth = 1\n[isolation]'),
        manifest('name = "app"', 'name = "App"'),
        manifest('name = "app"', 'name = "a b; DROP"'),
        manifest('access = "read_write"', 'access = "superuser"'),
        manifest("[isolation]", '[[roles]]\nname = "app"\naccess = "read_only"\n[isolation]'),
        manifest(
            "[isolation]", '[[roles]]\nname = "r"\naccess = "read_only"\n' * 8 + "[isolation]"
        ),
        manifest("seeds/development.sql", "../development.sql"),
        manifest("seeds/development.sql", "seeds/other.sql"),
        manifest("seeds/development.sql", "README.md"),
        changed(seeds="SELECT 1; COMMIT;"),
        changed(seeds="VACUUM;"),
        changed(seeds="COPY notes FROM STDIN;"),
        changed(seeds="this is no SQL"),
        changed(**{"migrations/000003_again.up.sql": ""}),
        changed(**{"migrations/000004_more.up.sql": ""}),
        changed(**{f"migrations/{2**70}_more.up.sql": ""}),
        changed(**{"migrations/000003_pin_notes.up.sql": "\ud800"}),
        {"blueprint.toml": FILES["blueprint.toml"]},
    ],
)
def test_what_is_no_blueprint_is_reported(files: dict[str, str]) -> None:
    with pytest.raises(BadBlueprint) as refused:
        model.parse("notes", files)
    assert refused.value.fields


@pytest.mark.parametrize("name", ["", "A", "-a", "a/b", "..", "a b", "a" * 64, "a\n"])
def test_a_name_is_one_word(name: str) -> None:
    with pytest.raises(BadBlueprint):
        model.parse(name, FILES)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "migration", "access", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.text(max_size=200) | st.sampled_from(FILES["blueprint.toml"].splitlines()))
def test_any_manifest_is_one_or_is_reported_to_be_none(text: str) -> None:
    for files in (changed(manifest=text), changed(manifest=FILES["blueprint.toml"] + text)):
        try:
            model.parse("notes", files)
        except BadBlueprint:
            continue


@given(st.sampled_from(["title", "versions", "roles", "isolation", "seeds", "extensions"]), _JSON)
def test_any_value_in_a_manifest_is_one_or_is_reported_to_be_none(field: str, value: Any) -> None:
    whole = {"title": "T", "description": "D", "versions": [{"migration": 3, "summary": "S"}]}
    with contextlib.suppress(ValueError):
        model._Manifest.model_validate(whole | {field: value})


def test_a_folder_that_is_not_there_or_not_text_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadBlueprint, match="cannot be read"):
        model.read(tmp_path / "nowhere")
    (tmp_path / "README.md").write_bytes(b"\xff")
    with pytest.raises(BadBlueprint, match="UTF-8"):
        model.read(tmp_path)


def test_the_catalogue_is_whole_and_what_is_broken_beside_it_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "blueprint.toml").write_text("title = ")
    found = {each.name: each for each in Catalogue(tmp_path).every()}
    assert set(found) == {"hosting", "billing", "todos", "auth"}
    for each in found.values():
        assert each.readme.startswith("# ")
        assert "development" in each.seeds
    with pytest.raises(BadBlueprint):
        Catalogue(tmp_path).find("broken")
    for name in ("nothing", "../hosting", ""):
        with pytest.raises(BlueprintNotFound):
            Catalogue(tmp_path).find(name)


def test_the_data_api_of_new_databases_is_that_of_their_version() -> None:
    catalogue = Catalogue(None)

    def exposed(name: str, number: int) -> Exposed | None:
        blueprint = catalogue.find(name)
        return Chosen(blueprint, blueprint.versions[number - 1], None).exposed

    assert exposed("auth", 1) == Exposed(("api",), since=1, auth=True)
    assert exposed("todos", 3) == Exposed(("api",), since=3, auth=False)
    assert exposed("todos", 2) is exposed("hosting", 1) is None


def test_application_users_are_no_part_of_a_comparison() -> None:
    auth, todos = (Catalogue(None).find(name) for name in ("auth", "todos"))
    users = Thing("table", "auth.users")
    there = {
        Thing("schema", "auth"): "",
        users: "",
        Thing("grant", "auth to public", "auth"): "",
        Thing("column", "auth.users.id", "auth.users"): "",
        Thing("table", "api.auth"): "",
        Thing("table", "authors"): "",
    }
    assert set(plan.without_users(there)) == {Thing("table", "api.auth"), Thing("table", "authors")}
    assert plan.has_users(auth, there)
    assert not plan.has_users(todos, there)
    assert not plan.has_users(auth, {})


def test_a_folder_that_is_missing_is_reported_once(tmp_path: Path) -> None:
    with capture_logs() as logged, pytest.raises(BlueprintNotFound):
        Catalogue(tmp_path / "nowhere").find("nothing")
    assert [each["event"] for each in logged] == ["blueprints.unreadable"]


# ── versions ─────────────────────────────────────────────────────────────────


@given(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.integers(0, 10**8))
def test_a_reference_is_a_name_and_maybe_a_version(name: str, version: int) -> None:
    assert plan.read_reference(name) == (name, None)
    assert plan.read_reference(f"{name}@{version}") == (name, version)


@pytest.mark.parametrize("text", ["a@", "a@x", "a@-1", "a@1@2", "a@²", "a@" + "9" * 5000])
def test_a_version_is_a_number(text: str) -> None:
    with pytest.raises(InvalidInput):
        plan.read_reference(text)


def test_a_version_means_its_last_migration(notes: Blueprint) -> None:
    assert plan.version(notes, None).number == 2
    assert plan.version(notes, 1).migration == 2
    for number in (0, 3):
        with pytest.raises(InvalidInput):
            plan.version(notes, number)
    found = [plan.version_at(notes, migration) for migration in (None, 1, 2, 3, 9)]
    assert [each.number if each else None for each in found] == [None, None, 1, 2, 2]


def standing(notes: Blueprint, version: int | None, *, dirty: bool = False, sha: str = "") -> Any:
    journal = {
        each.version: Applied(each.version, each.up.name, sha or each.up.sha256, NOW)
        for each in notes.migrations
        if each.up is not None
    }
    return status(notes.migrations, State(version, dirty), journal)


def test_which_way_a_database_may_go(notes: Blueprint) -> None:
    first, second = notes.versions
    plan.check_way(notes, second, standing(notes, None), has_it=False)
    plan.check_way(notes, second, standing(notes, 1), has_it=False)  # half-way, and its own
    plan.check_way(notes, second, standing(notes, 3), has_it=True)
    plan.check_way(notes, first, standing(notes, 2, sha="other"), has_it=True)
    with pytest.raises(DirtyDatabase):
        plan.check_way(notes, second, standing(notes, 1, dirty=True), has_it=True)
    with pytest.raises(ForeignMigrations):
        plan.check_way(notes, second, standing(notes, 1, sha="other"), has_it=False)
    with pytest.raises(ForeignMigrations):  # golang-migrate's, of which nobody knows
        plan.check_way(notes, second, status(notes.migrations, State(2)), has_it=False)
    with pytest.raises(BlueprintBackwards, match="version 2"):
        plan.check_way(notes, first, standing(notes, 3), has_it=True)


def test_where_a_database_is_compared(notes: Blueprint) -> None:
    assert plan.place(notes, State(2)) == 2
    for state in (State(None), State(9)):
        with pytest.raises(ForeignMigrations):
            plan.place(notes, state)
    with pytest.raises(DirtyDatabase):
        plan.place(notes, State(2, dirty=True))


# ── differences ──────────────────────────────────────────────────────────────

_WHOLES = st.sampled_from(["t", "u"])
_THINGS = st.one_of(
    st.builds(Thing, st.just("table"), _WHOLES),
    st.builds(lambda whole, part: Thing("column", f"{whole}.{part}", whole), _WHOLES, _WHOLES),
)


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    found = draw(st.dictionaries(_THINGS, st.sampled_from(["int", "text"])))
    for thing in list(found):
        if thing.part_of:  # no part without its whole
            found.setdefault(Thing("table", thing.part_of), "int")
    return found


@given(descriptions(), descriptions())
def test_differences_are_reported_once_and_both_ways(made: Description, there: Description) -> None:
    assert differences(made, made) == []
    found = differences(made, there)
    back = {"missing": "extra", "extra": "missing", "changed": "changed"}
    assert [(each.kind, each.name, back[each.status]) for each in found] == [
        (each.kind, each.name, each.status) for each in differences(there, made)
    ]
    reported = {each.name for each in found if each.status != "changed"}
    for each in found:
        whole = each.name.partition(".")[0]
        assert whole == each.name or whole not in reported, "its table is reported already"
        if each.status == "extra":
            assert each.drift is (whole != each.name)
    if made != there:
        assert found
