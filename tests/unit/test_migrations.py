"""Names, pragmas, lock keys and plans: everything about migrations that needs no server.

The folder of the planning tests is shaped to have a gap, versions with one file only, and
distances other than one, as golang-migrate's documentation allows.
"""

import datetime as dt
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.pg import statements
from tenantry.services.migrations import plan
from tenantry.services.migrations.model import (
    HIGHEST_VERSION,
    BadMigrations,
    Direction,
    DirtyDatabase,
    Migration,
    MigrationNotFound,
    Script,
    State,
    Step,
)

UP, DOWN = Direction.UP, Direction.DOWN


def files(*names: str) -> dict[str, bytes]:
    return {name: f"-- {name}".encode() for name in names}


FOLDER = plan.collect(
    files(
        *("2_a.up.sql", "2_a.down.sql"),
        "5_b.up.sql",
        "6_c.down.sql",
        *("20170412214116_d.up.sql", "20170412214116_d.down.sql"),
    )
)
STAMP = 20170412214116


def taken(steps: Sequence[Step]) -> list[str | None]:
    return [step.script.name if step.script else None for step in steps]


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1_foobar.up.sql", (1, "foobar", UP)),
        ("1_foobar.down.sql", (1, "foobar", DOWN)),
        ("000001_create_users_table.up.sql", (1, "create_users_table", UP)),
        ("0_zero.up.sql", (0, "zero", UP)),
        ("1485385885_epoch.up.sql", (1485385885, "epoch", UP)),
        ("20170412214116_date_foobar.up.sql", (STAMP, "date_foobar", UP)),
        ("9223372036854775807_last.up.sql", (HIGHEST_VERSION, "last", UP)),
        ("1_f-o_ob+ar.up.sql", (1, "f-o_ob+ar", UP)),
        ("1_.up.sql", (1, "", UP)),
        ("1_a.up.down.sql", (1, "a.up", DOWN)),
        ("1_a.down.up.sql", (1, "a.down", UP)),
        ("1_any_extension.up.psql", (1, "any_extension", UP)),
        ("1_ünïcode 名.down.sql", (1, "ünïcode 名", DOWN)),
    ],
)
def test_a_name_shows_version_title_and_direction(
    name: str, expected: tuple[int, str, Direction]
) -> None:
    assert plan.parse_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "-1_foobar.up.sql",
        "foobar.up.sql",
        "1.up.sql",
        "1_foobar.sql",
        "1_foobar.up",
        "1_foobar.down",
        "1_foobar.UP.sql",
        "1_foobar.sideways.sql",
        " 1_foobar.up.sql",
        "1-foobar.up.sql",
        "\N{ARABIC-INDIC DIGIT ONE}_foobar.up.sql",
        "1_a.up.sql\n",
        "README.md",
        "",
    ],
)
def test_other_names_are_no_migrations(name: str) -> None:
    assert plan.parse_name(name) is None


@pytest.mark.parametrize(
    "digits",
    ["9223372036854775808", "18446744073709551615", "18446744073709551616", "9" * 5000],
    ids=["bigint + 1", "uint64", "uint64 + 1", "5,000 digits"],
)
def test_a_version_that_the_table_cannot_record_is_refused(digits: str) -> None:
    with pytest.raises(BadMigrations, match="larger than 9223372036854775807"):
        plan.parse_name(f"{digits}_far.up.sql")


@given(
    st.integers(0, HIGHEST_VERSION),
    st.integers(0, 30),
    st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])),
    st.sampled_from(Direction),
)
def test_every_written_name_is_read_back(
    version: int, zeros: int, title: str, direction: Direction
) -> None:
    name = f"{'0' * zeros}{version}_{title}.{direction}.sql"
    assert plan.parse_name(name) == (version, title, direction)


@given(st.text())
def test_any_text_is_a_migration_or_none(name: str) -> None:
    parsed = plan.parse_name(name)
    if parsed is not None:
        version, title, direction = parsed
        assert 0 <= version <= HIGHEST_VERSION
        assert f"_{title}.{direction}." in name


# Folders


def test_migrations_come_in_the_order_of_their_numbers_not_of_their_names() -> None:
    folder = plan.collect(files("10_b.up.sql", "9_a.up.sql", "0011_c.down.sql", "notes.txt"))
    assert [m.version for m in folder] == [9, 10, 11]


def test_either_file_may_be_missing() -> None:
    assert [(m.up is not None, m.down is not None) for m in FOLDER] == [
        (True, True),
        (True, False),
        (False, True),
        (True, True),
    ]


def test_the_two_files_of_a_version_may_differ_in_title_and_in_zeros() -> None:
    [migration] = plan.collect(files("01_add.up.sql", "1_remove.down.sql"))
    assert (migration.up, migration.down) == (
        Script("01_add.up.sql", "-- 01_add.up.sql"),
        Script("1_remove.down.sql", "-- 1_remove.down.sql"),
    )


@pytest.mark.parametrize("pair", [("1_a.up.sql", "1_b.up.sql"), ("1_a.down.sql", "01_a.down.sql")])
def test_two_files_of_one_version_and_direction_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(BadMigrations) as failure:
        plan.collect(files(*pair))
    assert all(name in failure.value.detail for name in pair)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"SELECT 1;\n-- caf\xe9", "1_a.up.sql, line 2: the file is not UTF-8"),
        (b"SELECT 1;\n\nSELECT '\0'; DROP TABLE t", "1_a.up.sql, line 3: the file holds a NUL"),
    ],
)
def test_content_that_postgresql_would_not_get_whole_is_refused(
    content: bytes, complaint: str
) -> None:
    with pytest.raises(BadMigrations, match=complaint):
        plan.collect({"1_a.up.sql": content})


def test_a_byte_order_mark_is_not_sent() -> None:
    [migration] = plan.collect({"1_a.up.sql": b"\xef\xbb\xbfSELECT 1"})
    assert migration.up == Script("1_a.up.sql", "SELECT 1")


# Pragma and lines


@pytest.mark.parametrize(
    ("text", "transactional"),
    [
        ("CREATE TABLE t ()", True),
        ("", True),
        ("-- tenantry: no-transaction\nVACUUM", False),
        ("--tenantry:no-transaction\r\nVACUUM", False),
        ("\n-- why we do this\n\n  -- tenantry:  no-transaction  \nVACUUM", False),
        ("SELECT 1;\n-- tenantry: no-transaction", True),
        ("-- tenantry: no-transactions\nCREATE TABLE t ()", True),
        ("-- see tenantry: no-transaction\nCREATE TABLE t ()", True),
        ("SELECT '\n-- tenantry: no-transaction\n'", True),
    ],
)
def test_the_pragma_counts_above_the_first_statement_only(text: str, transactional: bool) -> None:
    assert Script("1_a.up.sql", text).transactional is transactional


@pytest.mark.parametrize(
    ("text", "needle", "line"),
    [("abc", "a", 1), ("a\nbc", "b", 2), ("ä\r\n名\r\nx", "x", 3), ("a\n\n\nb", "b", 4)],
)
def test_a_position_is_counted_in_characters(text: str, needle: str, line: int) -> None:
    assert statements.line_of(text, text.index(needle) + 1) == line


# Locks


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("database_name",), 1764327054),
        (("database_name", "schema_name_1"), 2453313553),
        (("database_name", "schema_name_2"), 235207038),
        (("database_name", "schema_name_1", "schema_name_2"), 3743845847),
    ],
)
def test_a_lock_key_is_golang_migrates(names: tuple[str, ...], expected: int) -> None:
    """The numbers are those of its own test, database/util_test.go, version 4."""
    assert plan.lock_key(*names) == expected


def test_the_lock_keys_cover_both_ways_to_open_a_database() -> None:
    assert plan.lock_keys("app", "public") == (
        plan.lock_key("/app", "public", "schema_migrations"),
        plan.lock_key("app", "public", "schema_migrations"),
    )


@given(st.text(), st.text())
def test_lock_keys_fit_a_bigint(database: str, schema: str) -> None:
    assert all(0 <= key < 2**32 for key in plan.lock_keys(database, schema))


# Plans


def test_up_takes_all_or_n_of_those_that_are_missing() -> None:
    every = ["2_a.up.sql", "5_b.up.sql", None, "20170412214116_d.up.sql"]
    assert taken(plan.up(FOLDER, State())) == every
    assert taken(plan.up(FOLDER, State(), 2)) == every[:2]
    assert taken(plan.up(FOLDER, State(5))) == every[2:]
    assert taken(plan.up(FOLDER, State(5), 99)) == every[2:]
    assert plan.up(FOLDER, State(STAMP)) == []
    assert plan.up(FOLDER, State(), 0) == []


def test_down_takes_the_last_first_and_ends_before_the_first() -> None:
    every = ["20170412214116_d.down.sql", "6_c.down.sql", None, "2_a.down.sql"]
    steps = plan.down(FOLDER, State(STAMP), None)
    assert taken(steps) == every
    assert [step.target for step in steps] == [6, 5, 2, None]
    assert taken(plan.down(FOLDER, State(STAMP), 1)) == every[:1]
    assert taken(plan.down(FOLDER, State(5), 99)) == every[2:]
    assert plan.down(FOLDER, State(), None) == []
    assert plan.down(FOLDER, State(), 1) == []


def test_goto_goes_either_way() -> None:
    assert taken(plan.goto(FOLDER, State(), 5)) == ["2_a.up.sql", "5_b.up.sql"]
    assert taken(plan.goto(FOLDER, State(2), 6)) == ["5_b.up.sql", None]
    assert taken(plan.goto(FOLDER, State(STAMP), 5)) == [
        "20170412214116_d.down.sql",
        "6_c.down.sql",
    ]
    assert plan.goto(FOLDER, State(5), 5) == []


PLANS: list[Callable[[Sequence[Migration], State], list[Step]]] = [
    plan.up,
    lambda folder, state: plan.down(folder, state, None),
    lambda folder, state: plan.goto(folder, state, 5),
]


@pytest.mark.parametrize("planned", PLANS)
def test_a_dirty_database_is_refused(
    planned: Callable[[Sequence[Migration], State], list[Step]],
) -> None:
    with pytest.raises(DirtyDatabase, match="Dirty database version 5") as failure:
        planned(FOLDER, State(5, dirty=True))
    assert failure.value.hint
    with pytest.raises(DirtyDatabase, match="Dirty database version -1"):
        planned(FOLDER, State(None, dirty=True))


@pytest.mark.parametrize("planned", PLANS)
def test_a_version_that_the_folder_lacks_is_refused(
    planned: Callable[[Sequence[Migration], State], list[Step]],
) -> None:
    with pytest.raises(MigrationNotFound, match="version 3"):
        planned(FOLDER, State(3))


def test_going_to_a_version_that_the_folder_lacks_is_refused() -> None:
    with pytest.raises(MigrationNotFound, match="version 4"):
        plan.goto(FOLDER, State(2), 4)


def test_a_folder_without_migrations_is_probably_the_wrong_one() -> None:
    with pytest.raises(MigrationNotFound, match="no migration file"):
        plan.up((), State())
    assert plan.down((), State(), None) == []


def test_a_negative_number_of_steps_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 or more"):
        plan.up(FOLDER, State(), -1)
    with pytest.raises(InvalidInput, match="0 or more"):
        plan.down(FOLDER, State(2), -1)


def test_status_shows_applied_from_pending() -> None:
    status = plan.status(FOLDER, State(5))
    assert [m.version for m in status.applied] == [2, 5]
    assert [m.version for m in status.pending] == [6, STAMP]
    assert status.known
    assert plan.status(FOLDER, State()).applied == ()
    assert plan.status(FOLDER, State()).known
    assert not plan.status(FOLDER, State(3)).known
    assert plan.status(FOLDER, State(5, dirty=True)).state.dirty


versions = st.sets(st.integers(0, HIGHEST_VERSION), min_size=1, max_size=12).map(sorted)


@st.composite
def folders(draw: st.DrawFn) -> tuple[Migration, ...]:
    """Any folder: gaps, and versions with one file or both."""
    directions = st.sets(st.sampled_from(Direction), min_size=1)
    names = [f"{v}_m.{direction}.sql" for v in draw(versions) for direction in draw(directions)]
    return plan.collect(files(*names))


def follow(state: State, steps: Sequence[Step], folder: Sequence[Migration]) -> State:
    """Take the steps as a database would, holding each to what a step must be."""
    order = [None, *(m.version for m in folder)]
    for step in steps:
        here, there = order.index(state.version), order.index(step.target)
        assert there - here == (1 if step.direction is UP else -1)
        migration = folder[max(here, there) - 1]
        assert step.version == migration.version
        assert step.script == (migration.up if step.direction is UP else migration.down)
        state = State(step.target)
    return state


@given(folders(), st.data())
def test_goto_arrives_from_anywhere(folder: tuple[Migration, ...], data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([None, *(m.version for m in folder)]))
    target = data.draw(st.sampled_from([m.version for m in folder]))
    steps = plan.goto(folder, State(start), target)
    assert follow(State(start), steps, folder) == State(target)


@given(folders(), st.integers(0, 15), st.integers(0, 15))
def test_steps_add_up(folder: tuple[Migration, ...], first: int, second: int) -> None:
    middle = follow(State(), plan.up(folder, State(), first), folder)
    end = follow(middle, plan.up(folder, middle, second), folder)
    assert end == follow(State(), plan.up(folder, State(), first + second), folder)
    assert follow(end, plan.up(folder, end), folder) == State(folder[-1].version)


@given(folders(), st.integers(0, 15))
def test_down_undoes_up(folder: tuple[Migration, ...], n: int) -> None:
    there = plan.up(folder, State(), n)
    end = follow(State(), there, folder)
    back = plan.down(folder, end, n)
    assert [step.version for step in back] == [step.version for step in reversed(there)]
    assert follow(end, back, folder) == State()


# New files


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], "000001_add_tags"),
        (["000009_x.up.sql", "000009_x.down.sql", "README.md"], "000010_add_tags"),
        (["0009_x.up.sql", "2_a.up.sql"], "0010_add_tags"),
        (["20170412214116_d.up.sql"], "20260102030405_add_tags"),
        (["20990101000000_d.up.sql"], "20990101000001_add_tags"),
        (["1500360784_d.up.sql"], "1767323045_add_tags"),
        (["4070908800_d.up.sql"], "4070908801_add_tags"),
    ],
)
def test_a_new_migration_goes_on_as_the_others_do(there: list[str], expected: str) -> None:
    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert plan.next_files(there, " add-tags ", now) == (
        f"{expected}.up.sql",
        f"{expected}.down.sql",
    )


@given(
    st.lists(st.integers(0, HIGHEST_VERSION - 1), max_size=5),
    st.text("abc_- 7", min_size=1, max_size=20).filter(lambda text: text.strip("- ")),
    st.integers(0, 2**32).map(lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC)),
)
def test_a_new_migration_is_the_last(versions: list[int], title: str, now: dt.datetime) -> None:
    made = plan.next_files([f"{version}_x.up.sql" for version in versions], title, now)
    assert len(made) == 2
    parsed = [plan.parse_name(name) for name in made]
    assert [found[2] for found in parsed if found] == [UP, DOWN]
    assert all(found and found[0] > max(versions, default=0) for found in parsed)


@pytest.mark.parametrize("title", ["", " ", "../x", "a/b", "a" * 101, "a\nb.sql"])
def test_a_title_that_is_no_name_is_refused(title: str) -> None:
    with pytest.raises(InvalidInput):
        plan.next_files([], title, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


# Statements


@pytest.mark.parametrize(
    ("text", "transactional"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (i)", False),
        ("CREATE INDEX i ON t (i)", True),
        ("DROP INDEX CONCURRENTLY i", False),
        ("REINDEX TABLE CONCURRENTLY t", False),
        ("REINDEX TABLE t", True),
        ("REINDEX SCHEMA public", False),
        ("VACUUM t", False),
        ("ANALYZE t", True),
        ("CLUSTER", False),
        ("CLUSTER t USING i", True),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", False),
        ("ALTER TABLE t DETACH PARTITION p", True),
        ("ALTER SYSTEM SET work_mem = '1MB'", False),
        ("CREATE DATABASE d", False),
        ("SELECT 'CREATE INDEX CONCURRENTLY i ON t (i)'", True),
        ("this is nothing", True),
    ],
)
def test_what_cannot_run_in_a_transaction_is_found(text: str, transactional: bool) -> None:
    assert Script("1_a.up.sql", f"SELECT 1; {text};").transactional is transactional


def test_statements_know_their_lines_and_comments() -> None:
    text = "-- one;\n/* ü\n*/SELECT ';' ;\n-- two\n\nDO $$ BEGIN; END $$\n"
    found = statements.split(text)
    assert [(each.text, each.line) for each in found] == [
        ("SELECT ';'", 3),
        ("DO $$ BEGIN; END $$", 6),
    ]
    assert "-- one;" in found[0].comments
    assert "-- two" in found[1].comments


def test_a_large_file_is_split_in_no_time() -> None:
    """Where there are others than ASCII characters, too: it took minutes with these."""
    seconds = {}
    for letter in ("u", "ü"):
        began = time.process_time()
        text = f"-- {letter}\nSELECT 'a row of a dump, among many others';\n" * 40_000
        found = statements.split(text)
        assert [each.line for each in found] == list(range(2, 80_001, 2))
        seconds[letter] = time.process_time() - began
    assert seconds["ü"] < 5 * seconds["u"]


def test_a_statement_that_would_end_the_process_is_not_read() -> None:
    deep = "SELECT " + "+".join(["1"] * 100_000)
    with pytest.raises(statements.Unreadable, match="nested too deeply"):
        statements.split(f"CREATE TABLE t (i int);\n{deep}")


def test_a_statement_that_takes_too_long_to_parse_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = "SELECT " + ",".join(["1"] * 100_000)
    assert len(statements.split(f"{long};")) == 1
    monkeypatch.setattr(statements, "_CHILD_SECONDS", 0.001)
    with pytest.raises(statements.Unreadable, match="too long to be parsed"):
        statements.split(long)


def test_a_large_statement_is_read() -> None:
    rows = ", ".join(["(1, 'a row')"] * 10_000)
    assert len(statements.split(" ".join(["INSERT INTO t VALUES", rows]))) == 1


def test_what_cannot_be_read_is_reported_by_its_line() -> None:
    with pytest.raises(statements.Unreadable, match="syntax error") as unreadable:
        statements.split("SELECT 'ü';\n\nfoo bar")
    assert unreadable.value.line == 3


@given(st.lists(st.sampled_from(["SELECT 'é;'", "VACUUM", "-- x\nSELECT 1", "/* ; */ TABLE t"])))
def test_no_statement_is_lost(parts: list[str]) -> None:
    found = statements.split(";\n".join(parts))
    assert [each.text for each in found] == [
        part.split("\n")[-1].split("*/ ")[-1] for part in parts
    ]


# Files without a statement


@pytest.mark.parametrize(
    "text",
    ["", "\n", ";;", "-- nothing yet", "-- a;\n  -- b\n;", "/* a /* nested */ b */ -- c", "/**/"],
)
def test_a_file_without_a_statement_is_empty(text: str) -> None:
    step = Step(1, UP, Script("1_a.up.sql", text), 1)
    assert step.row() == {"version": 1, "direction": "up", "file": "1_a.up.sql", "empty": True}


@pytest.mark.parametrize(
    "text", ["SELECT 1", "-- a\nSELECT 1", "/* a */ SELECT 1", "/* open", "nonsense", "\u00a0"]
)
def test_a_file_with_anything_else_is_not(text: str) -> None:
    assert not Script("1_a.up.sql", text).is_empty
    assert Step(1, UP, None, 1).row()["empty"] is False
