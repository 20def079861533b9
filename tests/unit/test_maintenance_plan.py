"""Which tables and indexes are maintained, how far that is, and what an interruption has left."""

import pytest

from tenantry.base.errors import Conflict, NotFound
from tenantry.pg.index_creation import free_name
from tenantry.pg.reindexing import Index, leftovers
from tenantry.pg.vacuuming import Progress, Table
from tenantry.services.vacuuming.model import Creating, Definition, Maintenance
from tenantry.services.vacuuming.plan import (
    chosen_indexes,
    chosen_tables,
    copied_bytes,
    created_leftovers,
    fraction,
    new_index,
    one_table,
    written_bytes,
)

BLOATED = Table("public", "bloated", None, 1000, 800)
TIGHT = Table("public", "tight", None, 1000, 950)
UNKNOWN = Table("public", "unknown", None, 1000, None)
EMPTY = Table("s", "empty", None, 0, 0)
PART = Table("s", "part", "s.whole", 2000, 2000)
OTHER = Table("s", "bloated", "s.whole", 3000, 0)
ALL = [EMPTY, BLOATED, TIGHT, UNKNOWN, PART, OTHER]


def test_what_is_worth_it_is_rewritten_unless_tables_are_named() -> None:
    assert chosen_tables("vacuum_full", ALL, []) == [BLOATED, OTHER]
    named = ["public.unknown", "s.whole"]
    assert chosen_tables("vacuum_full", ALL, named) == [UNKNOWN, PART, OTHER]
    assert [each.returned_bytes for each in (BLOATED, UNKNOWN, EMPTY)] == [200, None, 0]


def test_all_tables_are_vacuumed_and_analyzed() -> None:
    assert chosen_tables("vacuum", ALL, []) == chosen_tables("analyze", ALL, []) == ALL
    assert chosen_tables("vacuum", ALL, ["s.whole"]) == [PART, OTHER]


@pytest.mark.parametrize("name", ["bloated", "public.part", "whole", "s.*"])
def test_a_name_that_no_table_has_is_reported(name: str) -> None:
    with pytest.raises(NotFound, match="no table"):
        chosen_tables("vacuum_full", ALL, ["public.tight", name])


def test_an_operation_does_not_take_any_number_of_tables() -> None:
    with pytest.raises(Conflict, match="1,001 tables"):
        chosen_tables("vacuum", [TIGHT] * 1001, [])


def test_many_names_of_very_many_tables_take_a_moment() -> None:
    """Each name was looked for in each table: that stopped the worker for minutes."""
    tables = [Table("public", f"t{number}", None, 1, 1) for number in range(50_000)]
    names = [table.title for table in tables[-1000:]]
    assert chosen_tables("vacuum", tables, names) == tables[-1000:]
    with pytest.raises(NotFound):
        chosen_tables("vacuum", tables, [*names[:10], "public.none"])
    indexes = [index(number, f"i{number}") for number in range(50_000)]
    titles = tuple(each.title for each in indexes[-1000:])
    assert chosen_indexes(indexes, wanted(indexes=titles)) == indexes[-1000:]


def index(oid: int, name: str, *, table: int = 1, valid: bool = True) -> Index:
    root = "public.whole" if table == 2 else None
    return Index(oid, table, "public", name, f"public.t{table}", root, 100, valid)


KEY, NOTE, PARTS = index(11, "t1_pkey"), index(12, "t1_note"), index(21, "t2_pkey", table=2)
LEFT = index(13, "t1_note_ccnew", valid=False)
OWN = index(14, "t1_own", valid=False)


def wanted(*, tables: tuple[str, ...] = (), indexes: tuple[str, ...] = ()) -> Maintenance:
    return Maintenance(tables=tables, indexes=indexes, lock_seconds=1, statement_seconds=1)


def test_indexes_are_rebuilt_by_name_and_by_table() -> None:
    found = [KEY, NOTE, PARTS, LEFT, OWN]
    assert chosen_indexes(found, wanted(indexes=("public.t1_note",))) == [NOTE]
    assert chosen_indexes(found, wanted(tables=("public.t1",))) == [KEY, NOTE, OWN]
    assert chosen_indexes(found, wanted(tables=("public.whole",))) == [PARTS]
    assert chosen_indexes(found, wanted(indexes=("public.t1_note_ccnew",))) == [LEFT]
    with pytest.raises(NotFound, match=r"no index public\.t1_nose"):
        chosen_indexes(found, wanted(indexes=("public.t1_nose",)))
    with pytest.raises(NotFound, match="no table t1"):
        chosen_indexes(found, wanted(tables=("t1",)))


def test_only_what_the_rebuild_left_is_dropped() -> None:
    """Nothing valid, of another table, of another name, or that was there before."""
    others = [
        index(15, "t2_note_ccnew", table=2, valid=False),
        index(16, "t1_valid_ccnew"),
        index(17, "t1_ccnew_x", valid=False),
        index(18, "t1_older_ccnew1", valid=False),
    ]
    old = index(19, "t1_note_ccold", valid=False)
    found = [KEY, NOTE, LEFT, OWN, old, *others]
    assert leftovers(found, 1, [18]) == [LEFT, old]


@pytest.mark.parametrize(
    ("command", "phases"),
    [
        (
            "VACUUM",
            ["initializing", "scanning heap", "vacuuming indexes", "vacuuming heap",
             "cleaning up indexes", "truncating heap", "performing final cleanup"],
        ),
        ("VACUUM FULL", ["initializing", "seq scanning heap", "writing new heap",
                         "rebuilding index"]),
        ("ANALYZE", ["acquiring sample rows"]),
        (
            "REINDEX",
            ["initializing", "waiting for writers before build",
             "building index: scanning table", "waiting for writers before validation",
             "index validation: scanning index", "index validation: scanning table",
             "waiting for old snapshots", "waiting for readers before marking dead"],
        ),
    ],
)  # fmt: skip
def test_progress_only_grows(command: str, phases: list[str]) -> None:
    found = [fraction(Progress(command, each, 0, 10)) for each in phases]
    assert found == sorted(found)
    assert found[0] == fraction(None) == 0
    assert all(0 <= fraction(Progress(command, each, 9, 9)) <= 1 for each in phases)
    assert fraction(Progress(command, phases[-1], 1, 0)) <= 1


def test_what_is_rebuilt_takes_room_and_analyze_writes_nothing() -> None:
    assert [copied_bytes(verb, TIGHT) for verb in ("vacuum_full", "vacuum", "analyze")] == [
        1000, 0, 0]  # fmt: skip
    assert copied_bytes("reindex", NOTE) == 100
    assert (written_bytes("vacuum", TIGHT), written_bytes("analyze", TIGHT)) == (1000, 0)


# ── new indexes ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("table", "columns", "taken", "name"),
    [
        ("orders", ["note"], set(), "orders_note_idx"),
        ("orders", ["note", "id"], {"orders_note_id_idx"}, "orders_note_id_idx1"),
        ("orders", ["note"], {"orders_note_idx", "orders_note_idx1"}, "orders_note_idx2"),
        ("t" * 63, ["note"], set(), "t" * 59 + "_idx"),
        ("ä" * 31, ["note"], {"ä" * 29 + "_idx"}, "ä" * 29 + "_idx1"),
    ],
)
def test_an_index_gets_a_name_as_from_postgresql(
    table: str, columns: list[str], taken: set[str], name: str
) -> None:
    assert free_name(table, columns, taken) == name
    assert len(name.encode()) <= 63


def test_the_name_of_an_index_is_chosen_once() -> None:
    wanted, table = Definition(columns=("note",)), Table("public", "t1", None, 5, 5)
    first = new_index(table, {"t1_pkey"}, wanted, None)
    assert (first.title, first.of_table, first.size_bytes) == ("public.t1_note_idx", "public.t1", 5)
    creating = Creating(index=first.title, table=first.of_table)
    made = index(15, "t1_note_idx")
    assert new_index(table, {"t1_pkey", "t1_note_idx"}, wanted, creating) == first
    assert first.is_there([KEY, made])
    assert not first.is_there([KEY, index(15, "t1_note_idx", valid=False)])
    again = new_index(table, {"t1_note_idx"}, wanted, None)
    assert again.title == "public.t1_note_idx1"
    with pytest.raises(Conflict, match="already"):
        new_index(table, {KEY.name}, wanted.model_copy(update={"name": KEY.name}), None)


def test_an_index_is_created_of_one_table() -> None:
    assert one_table(ALL, "public.tight") == TIGHT
    for name, error, said in [
        ("s.whole", Conflict, "partitioned"),
        ("public.nothing", NotFound, "no table"),
    ]:
        with pytest.raises(error, match=said):
            one_table(ALL, name)


def test_only_what_a_creation_has_left_is_dropped() -> None:
    creating = Creating(index="public.t1_note_idx", table="public.t1")
    left = index(15, "t1_note_idx", valid=False)
    elsewhere = index(15, "t1_note_idx", table=2, valid=False)
    assert created_leftovers([KEY, LEFT, OWN, left], creating) == [left]
    assert created_leftovers([index(15, "t1_note_idx"), elsewhere], creating) == []
