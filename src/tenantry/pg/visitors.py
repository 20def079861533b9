"""Visitors: logins that are made for one operation inside one tenant's database.

No standing role of the platform's enters a database that a tenant has used: what a tenant defines
there (a cast, a view, a policy, an index expression) may run in the session of any role that reads
it. So each piece of work in there has a login of its own, a member of that tenant's roles and of
nothing else, which connects by the Unix socket with a random password and is dropped afterwards.
Nothing of it is shared between tenants: no role, no lock, no session.

Row-level security applies to a visitor as to the tenant, except while it dumps, loads, counts or
compares that tenant's own rows (``bypass_rls``), which must be all of them.

A visitor's session may run the tenant's code, which can change the visitor's own password and
settings (``ALTER ROLE current_user SET …``). Both are reset each time before it is used.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict, Deferred
from tenantry.base.events import SessionAnnounced, VisitorDropped, emit
from tenantry.base.secrets import Secret, scram_verifier
from tenantry.host import files
from tenantry.pg import catalog, instance_roles, names, owned_objects, session_ending
from tenantry.pg.connections import (
    ADMIN,
    Address,
    QuietConnection,
    connect,
    fetch_value,
    startup_options,
)
from tenantry.pg.objects import role_exists
from tenantry.pg.replacing import admit

_MOST_SESSIONS = 8
_SHORT_VISIT_SECONDS = 900  # longer than any session of ``session`` lasts
_ARRIVAL_SECONDS = 15  # between a login's creation and its session: connecting takes 5 at most
# A tenant that has granted a visitor something in an open transaction holds a lock on that role.
_LOCK_TIMEOUT = "2s"
_TRIES = 5
_PAUSE_SECONDS = 0.05
_PASS_SECONDS = 15.0

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class Visitor:
    """A login for the duration of a block; ``passfile`` holds its password as libpq reads it."""

    name: str
    address: Address
    password: Secret = field(repr=False)
    passfile: Path

    def environment(self, database: str) -> dict[str, str]:
        """Return the variables that log a client program in as it (manual, section 34.15)."""
        emit(SessionAnnounced(database))
        return {
            "PGHOST": str(self.address.socket_dir),
            "PGPORT": str(self.address.port),
            "PGUSER": self.name,
            "PGDATABASE": database,
            "PGPASSFILE": str(self.passfile),
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
    bypass_rls: bool = True,
) -> AsyncIterator[Visitor]:
    """Create a login with the rights of these roles, which are one tenant's, for a block.

    Where they may not enter ``database`` themselves, it may, and create schemas in it.

    ``purpose`` is the hexadecimal id of the operation, followed by ``_`` and more where that has
    several: the login is named after it, so that one left by a crash is used again or dropped. What
    it owns in the end must have been given away (``leave``), or it stays, locked, until ``drop``
    gives it away. ``folder`` is where the passfile is, for that time: the operation's scratch
    folder, so that a crash leaves none.

    Raises Unavailable if the server does not answer.
    """
    name = names.visitor(purpose)
    password = Secret(secrets.token_urlsafe(32))
    async with connect(address, user=ADMIN) as admin:
        await _make(admin, name, password, roles, bypass_rls=bypass_rls)
        if database is not None:
            await admit(admin, database, name)
    try:
        with TemporaryDirectory(prefix="tenantry-", dir=folder) as private:
            passfile = Path(private) / "passfile"
            files.write_atomically(passfile, f"*:*:*:{name}:{password.reveal()}\n")
            yield Visitor(name, address, password, passfile)
    finally:
        async with connect(address, user=ADMIN) as admin:
            await _drop(admin, name)


@asynccontextmanager
async def session(
    address: Address, database: str, roles: Sequence[str]
) -> AsyncIterator[Connection]:
    """Open one session in a database with the rights of these roles of its tenant, and no more.

    In autocommit mode; names resolve in pg_catalog, and a policy that would hide rows is an error.

    Raises Unavailable if the server does not answer, or if the database does not admit it; Conflict
    if it is dropped at this moment.
    """
    async with (
        short_login(address, database, roles) as (name, password),
        connect(address, user=name, dbname=database, password=password) as inside,
    ):
        await inside.execute("SELECT set_config('row_security', 'off', false)")
        yield inside


@asynccontextmanager
async def short_login(
    address: Address,
    database: str,
    roles: Sequence[str],
    *,
    runs_statements: bool = False,
    purpose: str | None = None,
) -> AsyncIterator[tuple[str, Secret]]:
    """Create a login for a block, which may enter this database, and yield its name and password.

    It has the rights of these roles of the database's tenant, and no more; at the end its sessions
    are terminated. It expires, by which one that a crash leaves is recognised (``drop_abandoned``).
    With ``runs_statements`` it runs statements of the tenant's, which the tenant's log has. With a
    ``purpose``, the sessions of an earlier login for the same purpose are terminated first.

    Raises Unavailable if the server does not answer, Conflict if roles or database are dropped at
    this moment.
    """
    purpose = purpose or uuid4().hex
    name = names.visitor(names.running(purpose) if runs_statements else purpose)
    password = Secret(secrets.token_urlsafe(32))
    try:
        async with connect(address, user=ADMIN) as admin:
            await _make_short(admin, name, password, roles, database)
        emit(SessionAnnounced(database))
        yield name, password
    finally:
        await _remove(address, names.purpose_of(name))


async def _make_short(
    admin: Connection, name: str, password: Secret, roles: Sequence[str], database: str
) -> None:
    for _ in range(_TRIES):
        try:
            await _make(
                admin, name, password, roles, bypass_rls=False, seconds=_SHORT_VISIT_SECONDS
            )
            if not await _may_connect(admin, database, roles):
                await admit(admin, database, name)
        except psycopg.errors.InternalError_:  # others change or drop the database or the roles
            await asyncio.sleep(_PAUSE_SECONDS)
        except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidCatalogName) as error:
            raise gone(database) from error
        else:
            return
    raise gone(database)


def gone(database: str) -> Conflict:
    """Return the error for a database that is dropped or renamed at this moment."""
    return Conflict(
        f"{database} is being deleted or replaced by another operation.",
        hint="Look whether it is still there, and try again.",
    )


async def _may_connect(admin: Connection, database: str, roles: Sequence[str]) -> bool:
    found = await fetch_value(
        admin,
        """
        SELECT bool_or(has_database_privilege(r.oid, d.oid, 'CONNECT'))
        FROM pg_roles r, pg_database d WHERE r.rolname = ANY (%s) AND d.datname = %s
        """,
        (list(roles), database),
    )
    return bool(found)


async def _make(
    admin: Connection,
    name: str,
    password: Secret,
    roles: Sequence[str],
    *,
    bypass_rls: bool,
    seconds: int | None = None,
) -> None:
    # Only a superuser may give BYPASSRLS, and (from 16 on) grant it roles that the platform's own
    # role has not created.
    async with admin.transaction():
        await admin.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))
        await session_ending.end_sessions(admin, name)
        known = await role_exists(admin, name)
        await admin.execute(
            sql.SQL(
                "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
                " {} CONNECTION LIMIT {} PASSWORD {} VALID UNTIL {}"
            ).format(
                sql.SQL("ALTER" if known else "CREATE"),
                sql.Identifier(name),
                sql.SQL("BYPASSRLS" if bypass_rls else "NOBYPASSRLS"),
                sql.Literal(_MOST_SESSIONS),
                sql.Literal(scram_verifier(password)),
                sql.Literal(await _expiry(admin, seconds)),
            )
        )
        if known:
            await _reset_settings(admin, name)
            await instance_roles.end_hold(admin, name)
        if roles:
            await admin.execute(
                sql.SQL("GRANT {} TO {}").format(
                    sql.SQL(", ").join(map(sql.Identifier, roles)), sql.Identifier(name)
                )
            )


async def _expiry(admin: Connection, seconds: int | None) -> str:
    if seconds is None:
        return "infinity"
    query = "SELECT (now() + make_interval(secs => %s))::text"
    return str(await fetch_value(admin, query, (seconds,)))


async def _reset_settings(admin: Connection, name: str) -> None:
    """Reset a role's own settings, in all databases: RESET ALL is for one at a time."""
    await admin.execute(
        "DELETE FROM pg_db_role_setting"
        " WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)",
        (name,),
    )


async def _drop(admin: Connection, name: str) -> bool:
    """Drop a visitor, or lock it. Returns whether it is gone.

    Two do so one after the other: the lock ends with ``admin``, which the caller closes.
    """
    await admin.execute("SELECT set_config('lock_timeout', %s, false)", (_LOCK_TIMEOUT,))
    try:
        await admin.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
    except psycopg.errors.LockNotAvailable:  # somebody else drops it, or creates it again
        return not await role_exists(admin, name)
    await session_ending.end_sessions(admin, name)
    if not await role_exists(admin, name):
        return True
    for _ in range(_TRIES):
        try:
            async with admin.transaction():
                # It may have been granted access to a database; in this one, for maintenance, it
                # has nothing.
                await admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
                await admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
        except psycopg.InternalError:  # somebody else changes the grants on that database
            await asyncio.sleep(_PAUSE_SECONDS)
        except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.LockNotAvailable):
            break
        else:
            return True
    await _lock(admin, name)
    return False


async def _lock(admin: Connection, name: str) -> None:
    """Revoke a visitor's login and rights: it owns something, or was granted something."""
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


async def leave(visitor_: Visitor, database: str, owner: str) -> None:
    """Give what a visitor created in a database, such as an extension, to one of its roles.

    Much of it is done in batches, as with ``wipe``: it must be repeated after a failure.
    """
    async with _at_leisure(visitor_, database) as inside:
        await owned_objects.give(inside, visitor_.name, owner)


async def wipe(visitor_: Visitor, database: str) -> None:
    """Drop what a visitor owns in a database, with all that depends on it, and its rights there.

    In batches, since each object takes a lock and all share the lock table; so it may have to be
    repeated after a failure.
    """
    async with _at_leisure(visitor_, database) as inside:
        await owned_objects.drop(inside, visitor_.name)


@asynccontextmanager
async def _at_leisure(visitor_: Visitor, database: str) -> AsyncIterator[Connection]:
    """Open a session with long timeouts, whatever the database's defaults are."""
    async with connect_as(visitor_, database) as inside:
        for name, value in (
            ("default_transaction_read_only", "off"),
            ("lock_timeout", "60s"),
            ("statement_timeout", "0"),
        ):
            await inside.execute("SELECT set_config(%s, %s, false)", (name, value))
        yield inside


@asynccontextmanager
async def connect_as(
    visitor_: Visitor, database: str, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Connection]:
    """Open a session of a visitor, in autocommit mode, that resolves names in pg_catalog.

    With ``settings``, it has these instead, from the start.

    Raises psycopg.OperationalError if the server does not let it in, Unavailable if it does not
    answer.
    """
    await renew(visitor_)
    emit(SessionAnnounced(database))
    conninfo = visitor_.address.conninfo(user=visitor_.name, dbname=database)
    if settings is not None:
        conninfo = make_conninfo(conninfo, options=startup_options(settings))
    async with await QuietConnection.connect(
        conninfo,
        password=visitor_.password.reveal(),
        autocommit=True,
    ) as inside:
        yield inside


async def renew(visitor_: Visitor) -> None:
    """Reset its password and settings, which code in an earlier session may have changed."""
    async with connect(visitor_.address, user=ADMIN) as admin:
        await admin.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(visitor_.name), sql.Literal(scram_verifier(visitor_.password))
            )
        )
        await _reset_settings(admin, visitor_.name)


async def purposes(address: Address) -> set[str]:
    """Return the purposes of the visitors that do not expire: operations' ids."""
    return await _names(address, sql.SQL("coalesce(rolvaliduntil, 'infinity') = 'infinity'"))


async def drop_abandoned(address: Address) -> None:
    """Drop the visitors of ``session`` that a crash has left: without a session for too long."""
    which = sql.SQL(
        "rolvaliduntil < 'infinity' AND rolvaliduntil < now() + make_interval(secs => {})"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.usename = rolname)"
    ).format(sql.Literal(_SHORT_VISIT_SECONDS - _ARRIVAL_SECONDS))
    with Deferred() as failures:
        for purpose in in_time(await _names(address, which)):
            with failures.deferred():
                if await _remove(address, purpose):
                    emit(VisitorDropped("abandoned"))


def in_time(purposes: Collection[str]) -> Iterator[str]:
    """Yield as many of these as one pass may drop, in random order: the next pass continues.

    A tenant that holds a lock on some visitors makes each of them take seconds, and must neither
    keep others from being dropped, nor delay the caller's next work.
    """
    ends = time.monotonic() + _PASS_SECONDS
    for purpose in secrets.SystemRandom().sample(sorted(purposes), len(purposes)):
        if time.monotonic() > ends:
            break
        yield purpose


async def _names(address: Address, which: sql.Composable) -> set[str]:
    async with connect(address, user=ADMIN) as admin:
        cursor = await admin.execute(
            sql.SQL("SELECT rolname FROM pg_roles WHERE {} AND {}").format(
                names.sql_visitor("rolname"), which
            )
        )
        return {names.purpose_of(name) for (name,) in await cursor.fetchall()}


async def drop(address: Address, purpose: str) -> bool:
    """Drop the visitor of this purpose, and end its sessions. Returns whether it is gone.

    What it owns in a tenant's database becomes that tenant's. It stays, without login and rights,
    while somebody grants it something, or while a database with objects of its own admits nobody.
    """
    gone = await _remove(address, purpose)
    if gone:
        emit(VisitorDropped(purpose))
    return gone


async def _remove(address: Address, purpose: str) -> bool:
    name = names.visitor(purpose)
    async with connect(address, user=ADMIN) as admin:
        if await _drop(admin, name):
            return True
        owning = await catalog.databases_with_objects_of(admin, name)
    for database in owning:
        with suppress(psycopg.Error):
            await _return_to_tenant(address, purpose, database)
    async with connect(address, user=ADMIN) as admin:
        return not await role_exists(admin, name)


async def _return_to_tenant(address: Address, purpose: str, database: str) -> None:
    """Give what a visitor owns in a database to the tenant whose database it is."""
    tenant = names.owner_of(database)
    with TemporaryDirectory(prefix="tenantry-") as folder:
        async with visitor(
            address, purpose, [tenant], folder=Path(folder), database=database, bypass_rls=False
        ) as again:
            await leave(again, database, tenant)
