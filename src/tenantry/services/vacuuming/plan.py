"""Which tables and indexes are maintained, and how far that is: pure."""

from collections.abc import Collection, Sequence

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.suggestions import did_you_mean
from tenantry.pg.index_creation import NewIndex, free_name
from tenantry.pg.reindexing import Index
from tenantry.pg.vacuuming import Progress, Table
from tenantry.services.vacuuming.model import Creating, Definition, Maintenance, Target, Verb

_MOST = 1000  # of one operation, as its result lists them


def chosen_tables(verb: Verb, tables: Sequence[Table], names: Sequence[str]) -> list[Table]:
    """Return the tables to maintain, the smallest first: a rewritten one makes room for the next.

    Raises NotFound for a name that no table has, Conflict for too many tables.
    """
    known = {each.title for each in tables} | {each.root for each in tables}
    for name in names:
        if name not in known:
            raise _no_table(name, [table.title for table in tables])
    if names:
        wanted = set(names)
        found = [each for each in tables if each.is_named(wanted)]
    else:
        found = [each for each in tables if verb != "vacuum_full" or each.is_worth_it()]
    _require_few(len(found))
    return found


def chosen_indexes(indexes: Sequence[Index], wanted: Maintenance) -> list[Index]:
    """Return the indexes to rebuild, the smallest first.

    What an earlier rebuild has left is rebuilt only if it is named itself.

    Raises NotFound for a name that no index, or no table with an index, has.
    """
    known = {each.table for each in indexes} | {each.root for each in indexes}
    for name in wanted.tables:
        if name not in known:
            raise _no_table(name, sorted({each.table for each in indexes}))
    titles = {each.title for each in indexes}
    wanted_indexes, tables = set(wanted.indexes), set(wanted.tables)
    for name in wanted.indexes:
        if name not in titles:
            raise NotFound(
                f"The database's owner has no index {name}.",
                hint=did_you_mean(name, [each.title for each in indexes])
                or "Name it as schema.index: GET /api/databases/{id}/tables lists them.",
            )
    found = [
        each
        for each in indexes
        if each.title in wanted_indexes or (each.is_of(tables) and not each.is_leftover)
    ]
    _require_few(len(found))
    return found


def one_table(tables: Sequence[Table], name: str) -> Table:
    """Return the table to create an index of.

    Raises NotFound for a name that no table has, Conflict for a partitioned table.
    """
    for table in tables:
        if table.title == name:
            return table
    if any(each.root == name for each in tables):
        raise Conflict(
            f"{name} is partitioned: PostgreSQL creates no index of it concurrently.",
            hint="Create it on each partition; or run CREATE INDEX as SQL: writes to the table"
            " wait meanwhile.",
        )
    raise _no_table(name, [each.title for each in tables])


def new_index(
    table: Table, taken: Collection[str], wanted: Definition, creating: Creating | None
) -> NewIndex:
    """Return the index to create, with its name: the one of ``creating``, if it has been chosen.

    ``taken`` are the names in the table's schema. Raises Conflict if the wanted one is among them.
    """
    if creating is not None:
        name = creating.index.removeprefix(f"{table.schema}.")
    elif wanted.name is None:
        name = free_name(table.name, wanted.columns, taken)
    elif wanted.name in taken:
        raise Conflict(
            f"There is an index, or a table, {table.schema}.{wanted.name} already.",
            hint="Choose another name, or leave it out.",
        )
    else:
        name = wanted.name
    return NewIndex(
        table.schema,
        name,
        table.name,
        wanted.columns,
        wanted.method,
        wanted.unique,
        table.size_bytes,
    )


def created_leftovers(found: Sequence[Index], creating: Creating) -> list[Index]:
    """Return what an interrupted creation has left: no index had that name when it was chosen."""
    return [
        each
        for each in found
        if each.title == creating.index and each.table == creating.table and not each.is_valid
    ]


def written_bytes(verb: Verb, target: Target) -> int:
    """Return how much write-ahead log maintenance of a target writes at most, about."""
    return 0 if verb == "analyze" else target.size_bytes


def copied_bytes(verb: Verb, target: Target) -> int:
    """Return the bytes that a target takes in addition meanwhile: a rebuilt one exists twice."""
    return target.size_bytes if verb in {"vacuum_full", "reindex", "create_index"} else 0


def fraction(found: Progress | None) -> float:
    """Return how far a command is, from 0 to 1, by the work that its phases usually are.

    0 if nothing is reported: it waits for a lock.
    """
    if found is None:
        return 0.0
    part = min(1.0, found.done / found.total) if found.total else 0.0
    for beginning, begins_at, share in _PHASES.get(found.command, ()):
        if found.phase.startswith(beginning):
            return begins_at + share * part
    return part


# How each phase's name begins, where in the whole it begins, and its share if it counts its work.
_PHASES: dict[str, Sequence[tuple[str, float, float]]] = {
    "VACUUM": (
        ("initializing", 0.0, 0.0),
        ("scanning heap", 0.0, 0.6),
        ("vacuuming indexes", 0.6, 0.0),
        ("vacuuming heap", 0.7, 0.2),
        ("", 0.9, 0.0),
    ),
    "VACUUM FULL": (
        ("initializing", 0.0, 0.0),
        ("seq scanning heap", 0.0, 0.6),
        ("index scanning heap", 0.0, 0.6),
        ("", 0.8, 0.0),
    ),
    "REINDEX": (
        ("initializing", 0.0, 0.0),
        ("waiting for writers before build", 0.0, 0.0),
        ("building index", 0.0, 0.7),
        ("waiting for writers before validation", 0.7, 0.0),
        ("index validation: scanning table", 0.7, 0.25),
        ("index validation", 0.7, 0.0),
        ("", 0.95, 0.0),
    ),
}


def _no_table(name: str, titles: Sequence[str]) -> NotFound:
    return NotFound(
        f"The database's owner has no table {name}.",
        hint=did_you_mean(name, titles)
        or "Name it as schema.table: GET /api/databases/{id}/vacuum-full lists them.",
    )


def _require_few(count: int) -> None:
    if count > _MOST:
        raise Conflict(
            f"These are {count:,} tables or indexes, and one operation maintains {_MOST:,}.",
            hint="Name some of them.",
        )
