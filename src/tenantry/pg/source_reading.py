"""A program that reads a foreign server, which may be hostile.

``python -m … look`` prints the contents of its database: ``{"version": …, "extensions": […],
"uses": [[extension, schema, table, what, holds_rows], …], "tables": [[schema, name, bytes], …],
"roles": [[schema, name, use, count], …], "settings": {name: value}}``, where the uses are the
objects that depend on extensions (at most 1,000 of each), with the schema and the table that they
are part of or null, the use of a role is ``policies``, ``grants`` or ``owns``, and the settings are
the initial ones of this login's sessions.

``python -m … hold FILE`` begins a transaction that sees one moment, counts the rows of each table,
and goes on until it is ended. On standard error it prints ``{"table": [schema, name]}`` of each
that is counted, ``{"snapshot": name}``, for each table ``{"count": rows}``, and ``{"counted":
true}``. FILE is JSON: ``{"schemas": […], "exclude": [[schema, name], …]}``. In place of all that it
prints ``{"refused": why}``.

It connects by libpq's environment variables, as a child with a memory limit (``host.children``):
libpq and psycopg keep all that a server sends, be it one row of a gigabyte or a message without
end.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import Connection, sql
from psycopg.rows import TupleRow

_MOST_TABLES = 20_000
_MOST_EXTENSIONS = 500
_LONGEST_DESCRIPTION = 600  # characters
_MOST_SETTINGS = 200
_WITH_POLICIES = 9_05_00
_LONGEST_NAME = 63 * 4  # bytes: NAMEDATALEN, and room for a server that has a larger one
_LONGEST_MESSAGE = 2000
_MOST_SECONDS = 60

_TABLES: LiteralString = """
    SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND n.nspname NOT LIKE 'pg\\_toast%'
      AND NOT EXISTS (
          SELECT FROM pg_depend d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 2, 3
"""

_EXTENSIONS: LiteralString = """
    SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1
"""
# Dependencies of an extension's own members do not count: they are created with it.
_USES: LiteralString = """
    SELECT u.extension, n.nspname::text, c.relname::text,
        pg_describe_object(u.classid, u.objid, u.objsubid), u.holds_rows
    FROM (
        SELECT DISTINCT e.extname::text AS extension, user_of.classid, user_of.objid,
            user_of.objsubid,
            user_of.classid IN ('pg_class'::regclass, 'pg_attrdef'::regclass,
                'pg_constraint'::regclass, 'pg_type'::regclass) AS holds_rows,
            CASE user_of.classid
                WHEN 'pg_class'::regclass THEN user_of.objid
                WHEN 'pg_attrdef'::regclass THEN
                    (SELECT adrelid FROM pg_attrdef WHERE oid = user_of.objid)
                WHEN 'pg_constraint'::regclass THEN
                    (SELECT conrelid FROM pg_constraint WHERE oid = user_of.objid)
            END AS relation,
            dense_rank() OVER (
                PARTITION BY e.oid ORDER BY user_of.classid, user_of.objid, user_of.objsubid
            ) AS nth
        FROM pg_extension e JOIN pg_depend member ON member.refclassid = 'pg_extension'::regclass
                AND member.refobjid = e.oid AND member.deptype = 'e'
            JOIN pg_depend user_of
                ON user_of.refclassid = member.classid AND user_of.refobjid = member.objid
                AND user_of.deptype = 'n'
        WHERE e.extname <> 'plpgsql' AND NOT EXISTS (
            SELECT FROM pg_depend own LEFT JOIN pg_depend of_member
                ON of_member.classid = own.refclassid AND of_member.objid = own.refobjid
                AND of_member.deptype = 'e'
            WHERE own.classid = user_of.classid AND own.objid = user_of.objid
              AND (own.deptype = 'e'
                   OR own.deptype IN ('a', 'i') AND of_member.objid IS NOT NULL))
    ) u LEFT JOIN pg_class c ON c.oid = u.relation
        LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE u.nth <= 1000
    ORDER BY u.extension, u.nth
"""
_POLICIES: LiteralString = """
    SELECT n.nspname::text, r.rolname::text, 'policies', count(*)
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_roles r ON r.oid = ANY (p.polroles)
    GROUP BY 1, 2 ORDER BY 1, 2
"""
# Owners and grants of objects that are neither PostgreSQL's own nor an extension's; predefined
# roles are on every server.
_OTHER_ROLES: LiteralString = """
    SELECT n.nspname::text, r.rolname::text, used.use, count(*)
    FROM (
        SELECT relnamespace AS schema, relowner AS role, 'owns' AS use, oid FROM pg_class
        UNION ALL SELECT pronamespace, proowner, 'owns', oid FROM pg_proc
        UNION ALL SELECT relnamespace, (aclexplode(relacl)).grantee, 'grants', oid FROM pg_class
        UNION ALL SELECT c.relnamespace, (aclexplode(a.attacl)).grantee, 'grants', c.oid
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        UNION ALL SELECT pronamespace, (aclexplode(proacl)).grantee, 'grants', oid FROM pg_proc
        UNION ALL SELECT oid, (aclexplode(nspacl)).grantee, 'grants', oid FROM pg_namespace
        UNION ALL SELECT typnamespace, (aclexplode(typacl)).grantee, 'grants', oid FROM pg_type
    ) used JOIN pg_namespace n ON n.oid = used.schema JOIN pg_roles r ON r.oid = used.role
    WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
      AND r.rolname NOT LIKE 'pg\\_%'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = used.oid AND d.deptype = 'e')
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
# Rows that are more specific to this login in this database take precedence.
_SETTINGS: LiteralString = """
    SELECT DISTINCT ON (name) name, value
    FROM (
        SELECT split_part(setting, '=', 1) AS name,
            substr(setting, strpos(setting, '=') + 1) AS value,
            (setrole <> 0)::int * 2 + (setdatabase <> 0)::int AS rank
        FROM pg_db_role_setting, unnest(setconfig) setting
        WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
          AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    ) known
    WHERE length(name) < 200 AND length(value) < 1000
    ORDER BY name, rank DESC
"""


class Refused(Exception):
    """The server does not answer as PostgreSQL does, or has too much."""


def _rows(
    server: Connection[TupleRow], query: LiteralString | sql.Composed, *, most: int
) -> Iterator[TupleRow]:
    """Yield rows as they come. Raises Refused if there are too many."""
    with server.cursor() as cursor:
        for number, row in enumerate(cursor.stream(query)):
            if number >= most:
                raise Refused(
                    f"it has more than {most:,} tables, or as many extensions or settings"
                )
            yield row


def _name(value: object) -> str:
    text = str(value)
    if len(text.encode()) > _LONGEST_NAME:
        raise Refused("it has names that are longer than PostgreSQL's")
    return text


def _write(what: str, value: object) -> None:
    sys.stderr.write(json.dumps({what: value}) + "\n")
    sys.stderr.flush()


def look(server: Connection[TupleRow]) -> dict[str, object]:
    """Return the contents of a database. Raises psycopg.Error, Refused, ValueError, TypeError."""
    for statement in (
        "SET search_path = pg_catalog",
        "SET statement_timeout = '10s'",
        "SET lock_timeout = '5s'",  # reading a size takes a lock
    ):
        server.execute(statement)
    extensions = _rows(server, _EXTENSIONS, most=_MOST_EXTENSIONS)
    found = _rows(
        server,
        sql.SQL("SELECT schema, name, pg_total_relation_size(oid) FROM ({}) t").format(
            sql.SQL(_TABLES)
        ),
        most=_MOST_TABLES,
    )
    return {
        "version": server.info.server_version,
        "extensions": [_name(name) for (name,) in extensions],
        "uses": [
            [
                _name(extension),
                *(None if name is None else _name(name) for name in (schema, table)),
                str(what)[:_LONGEST_DESCRIPTION],
                bool(holds_rows),
            ]
            for extension, schema, table, what, holds_rows in _rows(
                server, _USES, most=_MOST_TABLES
            )
        ],
        "tables": [[_name(s), _name(n), max(0, int(size or 0))] for s, n, size in found],
        "roles": [
            [_name(schema), _name(role), str(use), int(count)]
            for query in (
                [_POLICIES, _OTHER_ROLES]
                if server.info.server_version >= _WITH_POLICIES
                else [_OTHER_ROLES]
            )
            for schema, role, use, count in _rows(server, query, most=_MOST_TABLES)
        ],
        "settings": {
            str(name): str(value) for name, value in _rows(server, _SETTINGS, most=_MOST_SETTINGS)
        },
    }


def hold(server: Connection[TupleRow], selection: dict[str, list[object]]) -> None:
    """Hold one moment and count rows, until this process is ended. Raises as ``look``."""
    server.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    server.execute("SET search_path = pg_catalog")
    server.execute("SET statement_timeout = 0")
    row = server.execute("SELECT pg_export_snapshot()::text").fetchone()
    name = str(row[0]) if row else ""
    if not re.fullmatch(r"[0-9A-Fa-f-]{3,64}", name):
        raise Refused("it gives its snapshots names that no PostgreSQL gives")
    query = sql.SQL("SELECT schema, name FROM ({}) t").format(sql.SQL(_TABLES))
    tables = [
        (_name(schema), _name(table))
        for schema, table in _rows(server, query, most=_MOST_TABLES)
        if (not selection["schemas"] or schema in selection["schemas"])
        and [schema, table] not in selection["exclude"]
    ]
    for each in tables:
        _write("table", each)
    _write("snapshot", name)
    for each in tables:
        row = server.execute(
            sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(*each))
        ).fetchone()
        _write("count", int(row[0]) if row else 0)
    _write("counted", True)
    while True:
        signal.pause()


def _readable(error: BaseException) -> str:
    """Return an error's message without the password, which a server may have repeated."""
    text = str(error)[: 2**20]
    password = os.environ.get("PGPASSWORD")
    return (text.replace(password, "***") if password else text)[:_LONGEST_MESSAGE]


def main() -> None:
    """Run the program. The process ends with 0 if it has printed a result."""
    reported: dict[str, object]
    if sys.argv[1:] == ["look"]:
        signal.alarm(_MOST_SECONDS)  # in case the parent dies without ending it
    try:
        with psycopg.connect("", autocommit=True) as server:
            match sys.argv[1:]:
                case ["hold", path]:
                    hold(server, json.loads(Path(path).read_text()))
                case _:
                    reported = look(server)
    except (psycopg.Error, Refused, ValueError, TypeError, OverflowError) as error:
        reported = {"refused": _readable(error)}
    except MemoryError:
        reported = {"refused": "what it answers is more than is read"}
    sys.stdout.write(json.dumps(reported))


if __name__ == "__main__":
    main()
