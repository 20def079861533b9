"""Visitors: logins that are made for one piece of work inside one tenant's database.

What reads or writes a whole database (pg_dump, pg_restore) takes minutes or hours, so it can
neither be the guest, who is in one database at a time (see ``logins``), nor have rights of the
platform's own: dumps run the tenant's code. A visitor is a member of that tenant's roles and
of nothing else, comes by the Unix socket with a password that nobody knows, and is gone
afterwards. Row-level security does not apply to it, since a dump must be whole.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.events import Changed, emit
from tenantry.base.secrets import Secret, scram_verifier
from tenantry.host import files
from tenantry.pg.connections import ADMIN, Address, connect, fetch_value
from tenantry.pg.objects import role_exists
from tenantry.pg.replacing import admit

PREFIX = "tenantry_visitor_"
_MOST_SESSIONS = 8


@dataclass(frozen=True, slots=True)
class Visitor:
    """A login for the time of a block; ``passfile`` holds its password as libpq reads it."""

    name: str
    address: Address
    passfile: Path

    def environment(self, database: str) -> dict[str, str]:
        """What has a program of PostgreSQL's log in as it (manual, section 34.15)."""
        return {
            "PGHOST": str(self.address.socket_dir),
            "PGPORT": str(self.address.port),
            "PGUSER": self.name,
            "PGDATABASE": database,
            "PGPASSFILE": str(self.passfile),
            "PGAPPNAME": "tenantry",
            "PGCONNECT_TIMEOUT": "10",
            "PGOPTIONS": "-csearch_path=pg_catalog",
        }


@asynccontextmanager
async def visitor(
    address: Address,
    purpose: str,
    roles: Sequence[str],
    *,
    folder: Path,
    database: str | None = None,
) -> AsyncIterator[Visitor]:
    """A login with the rights of these roles, which are one tenant's.

    Where they may not enter ``database`` themselves, it may, and make schemas in it.

    ``purpose`` is the hexadecimal id of the operation that it is for, with ``_`` and more behind it
    where that has several: the login is named after it, so that one left by a crash is used again
    or dropped. What it owns in the end must have
    been given away (``leave``), or it stays, shut out, until somebody drops it. ``folder`` is
    where the passfile is, for that time: the operation's scratch, so that a crash leaves none.

    Raises Unavailable if the server does not answer.
    """
    name = f"{PREFIX}{purpose}"
    password = Secret(secrets.token_urlsafe(32))
    async with connect(address, user=ADMIN) as admin:
        await _make(admin, name, password, roles)
        if database is not None:
            await admit(admin, database, name)
    try:
        with TemporaryDirectory(prefix="tenantry-", dir=folder) as private:
            passfile = Path(private) / "passfile"
            files.write_atomically(passfile, f"*:*:*:{name}:{password.reveal()}\n")
            yield Visitor(name, address, passfile)
    finally:
        async with connect(address, user=ADMIN) as admin:
            await _drop(admin, name)


async def _make(
    admin: AsyncConnection[TupleRow], name: str, password: Secret, roles: Sequence[str]
) -> None:
    # No superuser can be avoided: nobody else may give BYPASSRLS, nor (from 16 on) make it a
    # member of roles that the platform's own role has not made.
    async with admin.transaction():
        await _end_sessions(admin, name)
        known = await role_exists(admin, name)
        await admin.execute(
            sql.SQL(
                "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
                " BYPASSRLS CONNECTION LIMIT {} PASSWORD {}"
            ).format(
                sql.SQL("ALTER" if known else "CREATE"),
                sql.Identifier(name),
                sql.Literal(_MOST_SESSIONS),
                sql.Literal(scram_verifier(password)),
            )
        )
        if roles:
            await admin.execute(
                sql.SQL("GRANT {} TO {}").format(
                    sql.SQL(", ").join(map(sql.Identifier, roles)), sql.Identifier(name)
                )
            )


async def _end_sessions(admin: AsyncConnection[TupleRow], name: str) -> None:
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,)
    )


async def _drop(admin: AsyncConnection[TupleRow], name: str) -> bool:
    """Drop a visitor, or shut it out for good. Returns whether it is gone."""
    await _end_sessions(admin, name)
    if not await role_exists(admin, name):
        return True
    try:
        # It may have been let into a database; in this one, for maintenance, it has nothing.
        await admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        await admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    except psycopg.errors.DependentObjectsStillExist:
        # It still owns something in a database that is itself to go, or a tenant has granted it
        # something: its name does no harm, its rights might.
        await admin.execute(
            sql.SQL("ALTER ROLE {} NOLOGIN NOBYPASSRLS PASSWORD NULL").format(sql.Identifier(name))
        )
        cursor = await admin.execute(
            "SELECT pg_get_userbyid(roleid) FROM pg_auth_members"
            " WHERE member = (SELECT oid FROM pg_roles WHERE rolname = %s)",
            (name,),
        )
        for (role,) in await cursor.fetchall():
            await admin.execute(
                sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(role), sql.Identifier(name))
            )
        return False
    return True


async def leave(visitor_: Visitor, database: str, heir: str) -> None:
    """Give what a visitor made in a database, an extension for example, to one of its roles.

    Much of it goes in pieces, as with ``wipe``: after a failure it is to be done again.
    """
    me, to = sql.Identifier(visitor_.name), sql.Identifier(heir)
    async with _at_leisure(visitor_, database) as inside:
        cursor = await inside.execute(
            "SELECT nspname FROM pg_namespace WHERE nspowner = current_user::regrole"
        )
        # Before what is in them: who is given a function must have rights in its schema.
        for (name,) in await cursor.fetchall():
            await inside.execute(
                sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(name), to)
            )
        await inside.execute("SELECT set_config('tenantry.heir', %s, false)", (heir,))
        await _in_pieces(inside, visitor_.name, _GIVE_A_PIECE)
        async with inside.transaction():
            await inside.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(me, to))
            await inside.execute(sql.SQL("DROP OWNED BY {}").format(me))


async def owned(connection: AsyncConnection[TupleRow], name: str) -> int:
    """How many objects a role owns, in all databases of a server."""
    found = await fetch_value(
        connection,
        "SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass"
        " AND deptype = 'o' AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s)",
        (name,),
    )
    return int(str(found))


async def wipe(visitor_: Visitor, database: str) -> None:
    """Drop what a visitor owns in a database, with all that depends on it, and its rights there.

    In pieces, since each object takes a lock and locks are everybody's; so it may have to be
    done again after a failure.
    """
    async with _at_leisure(visitor_, database) as inside:
        await _in_pieces(inside, visitor_.name, _DROP_A_PIECE)
        await inside.execute(
            sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(visitor_.name))
        )


async def _in_pieces(inside: AsyncConnection[TupleRow], name: str, do: LiteralString) -> None:
    """Have few enough objects left for one transaction, or none that ``do`` does away with."""
    left = await owned(inside, name)
    while left > _PIECE:
        await inside.execute(do)
        before, left = left, await owned(inside, name)
        if left == before:
            break


_PIECE = 1000
# A sequence of a column's goes with its table, and cannot go alone.
_GIVE_A_PIECE: LiteralString = """
    DO $$
    DECLARE each regclass;
    BEGIN
        FOR each IN
            SELECT oid FROM pg_class c
            WHERE relowner = current_user::regrole AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
              AND NOT (relkind = 'S' AND EXISTS (
                  SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
            LIMIT 300
        LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO %I', each, current_setting('tenantry.heir'));
        END LOOP;
    END $$
"""
_DROP_A_PIECE: LiteralString = """
    DO $$
    DECLARE each record;
    BEGIN
        FOR each IN
            SELECT objid, type, identity
            FROM pg_shdepend, pg_identify_object(classid, objid, 0)
            WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
              AND refobjid = current_user::regrole
              AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)
              AND identity IS NOT NULL
            LIMIT 500
        LOOP
            IF each.type = 'large object' THEN
                PERFORM lo_unlink(each.objid);
            ELSE
                EXECUTE 'DROP ' || each.type || ' IF EXISTS ' || each.identity || ' CASCADE';
            END IF;
        END LOOP;
    END $$
"""


@asynccontextmanager
async def _at_leisure(visitor_: Visitor, database: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """A session that takes its time, whatever the database has for a default."""
    async with connect_as(visitor_, database) as inside:
        for name, value in (
            ("default_transaction_read_only", "off"),
            ("lock_timeout", "60s"),
            ("statement_timeout", "0"),
        ):
            await inside.execute("SELECT set_config(%s, %s, false)", (name, value))
        yield inside


@asynccontextmanager
async def connect_as(visitor_: Visitor, database: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """A session of a visitor's, in autocommit mode, in which names are those of pg_catalog.

    Raises psycopg.OperationalError if the server does not let it in.
    """
    async with await AsyncConnection.connect(
        visitor_.address.conninfo(user=visitor_.name, dbname=database),
        passfile=str(visitor_.passfile),
        autocommit=True,
    ) as inside:
        yield inside


async def purposes(address: Address) -> set[str]:
    """What the visitors that there are were made for."""
    async with connect(address, user=ADMIN) as admin:
        cursor = await admin.execute(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (PREFIX,)
        )
        return {name.removeprefix(PREFIX) for (name,) in await cursor.fetchall()}


async def drop(address: Address, purpose: str) -> bool:
    """Have no visitor for this purpose, nor a session of one. Returns whether it is gone."""
    async with connect(address, user=ADMIN) as admin:
        gone = await _drop(admin, f"{PREFIX}{purpose}")
    if gone:
        emit(Changed("visitor.dropped", purpose))
    return gone
