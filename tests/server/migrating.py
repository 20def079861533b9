"""What the tests of the migration runner share."""

from pathlib import Path
from typing import Any

import psycopg

from tenantry.services.migrations.model import Limits, Step

Connection = psycopg.AsyncConnection[Any]

IMPATIENT = Limits(lock_timeout=0.05, retries=1, back_off=0.01)


async def connect(dsn: str) -> Connection:
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True)


def write(folder: Path, files: dict[str, str]) -> Path:
    """Put these files into the folder, over those of the same names."""
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


async def rows(conn: Connection, query: str) -> list[Any]:
    return await (await conn.execute(query.encode())).fetchall()


async def recorded(conn: Connection) -> list[Any]:
    """What golang-migrate would read."""
    return await rows(conn, "SELECT version, dirty FROM schema_migrations")


async def tables(conn: Connection) -> set[str]:
    found = await rows(
        conn,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind = 'r' AND relname NOT IN ('schema_migrations', 'tenantry_migrations')",
    )
    return {name for (name,) in found}


async def advisory_locks(conn: Connection) -> list[Any]:
    return await rows(conn, "SELECT objid FROM pg_locks WHERE locktype = 'advisory'")


def versions(steps: list[Step]) -> list[int]:
    return [step.version for step in steps]
