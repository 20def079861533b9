"""Who is at a server, as it matters before the server is suspended."""

from dataclasses import dataclass

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

from tenantry.pg import names
from tenantry.pg.connections import POOLER

_WITHOUT_A_ROW = 1  # of the postmaster's children: the one that writes the log
# Another one, where its library is loaded: only then is there this parameter.
_PREWARMS = "pg_prewarm.autoprewarm"


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is at a server.

    ``tenants`` counts the sessions that a client has opened, ``others`` those of the platform in
    which it is at work in a tenant's database. ``started`` is how many sessions have begun in other
    databases than the maintenance database. ``processes`` is how many children its postmaster has
    while nobody logs in.
    """

    tenants: int
    others: int
    started: int
    processes: int


async def look(server: AsyncConnection[TupleRow]) -> Presence:
    """Return who is at a server. A look-up of a password by the pooler is a client's session."""
    async with server.cursor(row_factory=class_row(Presence)) as cursor:
        await cursor.execute(
            sql.SQL("""
            SELECT count(*) FILTER (WHERE a.backend_type = 'client backend'
                    AND (a.usename = {pooler} OR NOT {platforms})) AS tenants,
                count(*) FILTER (WHERE a.backend_type = 'walsender'
                    OR a.backend_type = 'client backend' AND {visitor}) AS others,
                (SELECT coalesce(sum(d.sessions), 0)::bigint FROM pg_stat_database d
                 WHERE d.datname <> 'postgres') AS started,
                count(*) + {without_a_row}
                    + coalesce(current_setting({prewarms}, true) = 'on', false)::int
                    AS processes
            FROM pg_stat_activity a
            """).format(
                pooler=POOLER,
                platforms=names.sql_platforms("a.usename"),
                visitor=names.sql_visitor("a.usename"),
                without_a_row=_WITHOUT_A_ROW,
                prewarms=_PREWARMS,
            )
        )
        return (await cursor.fetchall())[0]
