"""The roles that requests of the data API take, and the login of each database that they come by.

``anon``, ``authenticated`` and ``service_role`` are the only roles that tenants share. They cannot
log in, own nothing, and are members of nothing. Only authenticators are members of them, without
ADMIN OPTION, and each authenticator may connect to its own database alone: what a neighbour grants
to ``anon`` is out of reach. A role may change its own password and settings, so code of a tenant
that runs as ``anon`` can do that to the shared role: ``restore`` undoes it, a password is of no use
without a login, and the service must not apply the settings of shared roles.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, LiteralString

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg import instance_roles, names
from tenantry.pg.blockers import unless_blocked
from tenantry.pg.connections import fetch_value

ANONYMOUS = "anon"
AUTHENTICATED = "authenticated"
SERVICE = "service_role"
SHARED: Mapping[str, LiteralString] = {
    ANONYMOUS: "NOBYPASSRLS",
    AUTHENTICATED: "NOBYPASSRLS",
    SERVICE: "BYPASSRLS",
}
_ATTRIBUTES: LiteralString = (
    "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOINHERIT CONNECTION LIMIT 0"
    " PASSWORD NULL VALID UNTIL 'infinity'"
)

Connection = AsyncConnection[TupleRow]


async def _exists(connection: Connection, name: str) -> bool:
    found = await fetch_value(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    return found is not None


# ── the shared roles ─────────────────────────────────────────────────────────


async def ensure_shared(admin: Connection) -> None:
    """Create the shared roles where they are missing. ``restore`` corrects those that exist."""
    for name, attribute in SHARED.items():
        if not await _exists(admin, name):
            await admin.execute(_with_attributes("CREATE", name, attribute))


def _with_attributes(
    verb: Literal["CREATE", "ALTER"], name: str, attribute: LiteralString
) -> sql.Composed:
    return sql.SQL("{} ROLE {} {} {}").format(
        sql.SQL(verb), sql.Identifier(name), sql.SQL(_ATTRIBUTES), sql.SQL(attribute)
    )


async def restore(admin: Connection) -> list[str]:
    """Restore the invariants of the shared roles on a cluster. Returns what was undone.

    Code of any tenant can hold locks on these roles: its session is ended, and what is blocked all
    the same is left to the next call.
    """
    undone: list[str] = []
    for name in SHARED:
        work = partial(_restore, admin, name, undone)
        await unless_blocked(admin, name, work, roles=[name])
    return [*undone, *await _end_memberships(admin)]


async def _restore(admin: Connection, name: str, undone: list[str]) -> None:
    changed = """
        SELECT FROM pg_authid
        WHERE rolname = %(name)s
          AND (rolcanlogin OR rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication
               OR rolinherit OR rolconnlimit <> 0 OR rolpassword IS NOT NULL
               OR coalesce(rolvaliduntil, '-infinity') <> 'infinity'
               OR rolbypassrls <> (rolname = %(service)s))
        """
    cursor = await admin.execute(changed, {"name": name, "service": SERVICE})
    if cursor.rowcount:
        await admin.execute(_with_attributes("ALTER", name, SHARED[name]))
        undone.append(f"attributes of {name}")
    cursor = await admin.execute(
        "DELETE FROM pg_db_role_setting"
        " WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)",
        (name,),
    )
    if cursor.rowcount:
        undone.append(f"settings of {name}")


async def _end_memberships(admin: Connection) -> list[str]:
    """End memberships of shared roles, and those in them that are not an authenticator's.

    A visitor is a member for as long as it gives away what a shared role owns.
    """
    cursor = await admin.execute(
        sql.SQL("""
        SELECT r.rolname, m.rolname, pg_get_userbyid(a.grantor), a.admin_option
        FROM pg_auth_members a
            JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
        WHERE m.rolname = ANY (%(shared)s)
           OR (r.rolname = ANY (%(shared)s) AND NOT {is_visitor})
        """).format(is_visitor=names.sql_visitor("m.rolname")),
        {"shared": list(SHARED)},
    )
    undone = []
    for role, member, grantor, may_grant in await cursor.fetchall():
        if names.is_authenticator(member) and not may_grant:
            continue
        what = f"membership of {member} in {role}"
        revoke = sql.SQL("REVOKE {} FROM {} GRANTED BY {} CASCADE").format(
            sql.Identifier(role), sql.Identifier(member), sql.Identifier(grantor)
        )
        if await unless_blocked(admin, what, partial(admin.execute, revoke), roles=[role, member]):
            undone.append(what)
    return undone


async def databases_with_objects(server: Connection) -> list[str]:
    """Return the databases in which a shared role owns something that can be given away.

    Default privileges and user mappings cannot; they do nothing outside their database.
    """
    cursor = await server.execute(
        """
        SELECT DISTINCT d.datname FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o'
          AND s.refobjid IN (SELECT oid FROM pg_roles WHERE rolname = ANY (%s))
          AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)
        ORDER BY 1
        """,
        (list(SHARED),),
    )
    return [name for (name,) in await cursor.fetchall()]


async def give_away(inside: Connection, tenant: str) -> None:
    """Give what shared roles own in a database to its tenant, as a member of all of them."""
    await inside.execute(
        sql.SQL("REASSIGN OWNED BY {} TO {}").format(
            sql.SQL(", ").join(map(sql.Identifier, SHARED)), sql.Identifier(tenant)
        )
    )


# ── authenticators ───────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Authenticator:
    """The login of a database's API: its password's verifier, its limit, and what it may become.

    ``sound`` is False if it has other attributes than it should, or settings of its own.
    """

    verifier: str | None = field(repr=False)
    max_connections: int
    roles: frozenset[str]
    sound: bool = True


async def authenticators(admin: Connection) -> dict[str, Authenticator]:
    """Return the authenticators of a cluster, by name. For a superuser."""
    cursor = await admin.execute(
        sql.SQL("""
        SELECT r.rolname, r.rolpassword, r.rolconnlimit,
               array(SELECT pg_get_userbyid(a.roleid)::text FROM pg_auth_members a
                     WHERE a.member = r.oid),
               r.rolcanlogin AND NOT r.rolinherit AND NOT r.rolbypassrls
                   AND NOT EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setrole = r.oid)
        FROM pg_authid r WHERE {is_tenants} AND {is_ours}
        """).format(
            is_tenants=names.sql_tenants_role("r.rolname"),
            is_ours=instance_roles.sql_created_by_the_platform("r.oid"),
        )
    )
    return {
        name: Authenticator(verifier, limit, frozenset(roles), sound)
        for name, verifier, limit, roles, sound in await cursor.fetchall()
        if names.is_authenticator(name)
    }


async def create_authenticator(server: Connection, name: str) -> None:
    """Create the login, unless it exists, as the platform's role, which may then drop it again.

    Raises Conflict if the tenant of an instance has created a role of this name.
    """
    await instance_roles.require_free(server, name)
    if not await _exists(server, name):
        await server.execute(
            sql.SQL("CREATE ROLE {} NOLOGIN NOINHERIT CONNECTION LIMIT 0").format(
                sql.Identifier(name)
            )
        )


async def set_authenticator(
    admin: Connection, name: str, database: str, wanted: Authenticator
) -> None:
    """Give the login exactly these rights, and let it into its database. For a superuser.

    It is not in the groups whose members may connect from anywhere (``names.arrival_roles``).
    """
    async with admin.transaction():
        await admin.execute(
            sql.SQL(
                "ALTER ROLE {} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
                " NOBYPASSRLS CONNECTION LIMIT {} PASSWORD {}"
            ).format(
                sql.Identifier(name),
                sql.Literal(wanted.max_connections),
                sql.Literal(wanted.verifier),
            )
        )
        await admin.execute(
            "DELETE FROM pg_db_role_setting"
            " WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)",
            (name,),
        )
        await _set_memberships(admin, name, wanted.roles)
        await admin.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(database), sql.Identifier(name)
            )
        )


async def _set_memberships(admin: Connection, name: str, wanted: Collection[str]) -> None:
    cursor = await admin.execute(
        """
        SELECT pg_get_userbyid(roleid)::text, pg_get_userbyid(grantor)::text FROM pg_auth_members
        WHERE member = (SELECT oid FROM pg_roles WHERE rolname = %s)
        """,
        (name,),
    )
    there = await cursor.fetchall()
    for role, grantor in there:
        if role not in wanted:
            await admin.execute(
                sql.SQL("REVOKE {} FROM {} GRANTED BY {}").format(
                    sql.Identifier(role), sql.Identifier(name), sql.Identifier(grantor)
                )
            )
    missing = sorted(set(wanted) - {role for role, _ in there})
    if missing:
        await admin.execute(
            sql.SQL("GRANT {} TO {}").format(
                sql.SQL(", ").join(map(sql.Identifier, missing)), sql.Identifier(name)
            )
        )


async def end_long_transactions(
    server: Connection, limits: Mapping[str, float], *, otherwise: float
) -> list[str]:
    """End sessions of authenticators whose transactions last too long. Return whose they were.

    ``limits`` are seconds, by authenticator; ``otherwise`` is that of all others. A statement can
    remove its own timeout, catch a cancellation, and go on after its client has gone.
    """
    cursor = await server.execute(
        sql.SQL("""
        SELECT a.usename::text, pg_terminate_backend(a.pid) FROM pg_stat_activity a
            LEFT JOIN unnest(%(names)s::text[], %(seconds)s::float8[]) AS l (name, seconds)
                ON l.name = a.usename
        WHERE {is_authenticator}
          AND clock_timestamp() - a.xact_start
              > make_interval(secs => coalesce(l.seconds, %(otherwise)s))
        """).format(is_authenticator=names.sql_authenticator("a.usename")),
        {
            "names": list(limits),
            "seconds": list(limits.values()),
            "otherwise": otherwise,
        },
    )
    return [name for name, _ in await cursor.fetchall()]


async def add_selectable(server: Connection, tenant: str, role: str) -> None:
    """Let the API of a tenant's database, if it has one, become an additional role."""
    authenticator = names.authenticator(tenant)
    if await _exists(server, authenticator):
        await server.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(authenticator))
        )


# ── inside a database ────────────────────────────────────────────────────────

# As PostgREST sets them; up to its version 8, each claim was a setting of its own.
_OLD: LiteralString = "nullif(pg_catalog.current_setting('request.jwt.claim{}', true), '')"
_CLAIMS: LiteralString = "nullif(pg_catalog.current_setting('request.jwt.claims', true), '')"
_ONE: LiteralString = "coalesce({old}, {claims}::pg_catalog.jsonb ->> '{name}')"
FUNCTIONS: Mapping[str, tuple[LiteralString, str]] = {
    "jwt": ("jsonb", f"SELECT coalesce({_OLD.format('')}, {_CLAIMS})::pg_catalog.jsonb"),
    "role": (
        "text",
        f"SELECT {_ONE.format(old=_OLD.format('.role'), claims=_CLAIMS, name='role')}",
    ),
    "uid": (
        "uuid",
        f"SELECT {_ONE.format(old=_OLD.format('.sub'), claims=_CLAIMS, name='sub')}"
        "::pg_catalog.uuid",
    ),
}


async def schemas_of(inside: Connection, tenant: str) -> set[str]:
    """Return the schemas of a database that belong to its tenant."""
    cursor = await inside.execute(
        "SELECT nspname FROM pg_catalog.pg_namespace WHERE pg_get_userbyid(nspowner) = %s",
        (tenant,),
    )
    return {name for (name,) in await cursor.fetchall()}


async def prepare(inside: Connection, tenant: str, schemas: Sequence[str]) -> None:
    """Create the functions that policies call, and let the shared roles use the schemas.

    Everything is the tenant's, as if it had done so itself: it is dumped, restored and copied with
    the rest, and may be changed. What exists already is left as it is.
    """
    shared = sql.SQL(", ").join(map(sql.Identifier, SHARED))
    await inside.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(tenant)))
    await inside.execute("CREATE SCHEMA IF NOT EXISTS auth")
    cursor = await inside.execute(
        """
        SELECT p.proname FROM pg_catalog.pg_proc p
            JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'auth' AND p.pronargs = 0
        """
    )
    there = {name for (name,) in await cursor.fetchall()}
    for name, (returns, body) in FUNCTIONS.items():
        if name in there:
            continue
        await inside.execute(
            sql.SQL("CREATE FUNCTION {}() RETURNS pg_catalog.{} LANGUAGE sql STABLE AS {}").format(
                sql.Identifier("auth", name),
                sql.SQL(returns),
                sql.Literal(body),
            )
        )
        await inside.execute(
            sql.SQL("GRANT EXECUTE ON FUNCTION {}() TO {}").format(
                sql.Identifier("auth", name), shared
            )
        )
    await inside.execute(
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(
            sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys(["auth", *schemas]))), shared
        )
    )
    await inside.execute("RESET ROLE")
