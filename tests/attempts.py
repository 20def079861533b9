"""What a tenant tries in order to get out of its own database, and what must come of it.

Each attempt names the grant or parameter that holds it, and how a superuser takes just that
away (``lift``): with it gone the attempt must get through, or it would prove nothing. Where
PostgreSQL itself is the protection, the nearest privilege is given instead.

docs/reference/security.md lists exactly these; test_docs holds it to them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from clients import changed, login
from harness import Installation

DIRECT, POOLED = ENDPOINTS = ("direct", "pooled")
_STRINGS = {DIRECT: "connection_string", POOLED: "connection_string_pooled"}

# What an attempt may come to, besides an SQLSTATE and a refusal's words.
THROUGH = "through"
NOTHING = "nothing"
DENIED = "42501"


@dataclass
class Scenario:
    """Two tenants on one installation; the first one tries, the second has a session open."""

    platform: Installation
    tenant: dict[str, Any]
    neighbour: dict[str, Any]
    session: psycopg.Connection[TupleRow]

    @property
    def words(self) -> dict[str, str]:
        """What stands in braces in an attempt's statements."""
        run = self.platform.home / "run"
        return {
            "role": self.tenant["username"],
            "database": self.tenant["database_name"],
            "shadow": f"{self.tenant['database_name']}_shadow",
            "password": self.tenant["password"],
            "neighbour": self.neighbour["username"],
            "foreign": self.neighbour["database_name"],
            "foreign_shadow": f"{self.neighbour['database_name']}_shadow",
            "email": self.neighbour["owner_email"],
            "friendly": self.neighbour["friendly_name"],
            "neighbour_pid": str(self.session.info.backend_pid),
            "platform_pid": str(self._platform_pid()),
            "socket": str(run / "shared-1"),
            "port": str(self.platform.pg_port),
            "pooler_socket": str(run / "pooler"),
            "pool_port": str(self.platform.pool_port),
        }

    def _platform_pid(self) -> int:
        with self.platform.superuser() as server:
            row = server.execute(
                "SELECT pid FROM pg_stat_activity WHERE usename = 'tenantry_platform'"
            ).fetchone()
        assert row, "the platform has no session"
        return int(row[0])

    def url(self, endpoint: str, **parameters: str) -> str:
        """The tenant's string for a endpoint, with other parameters; braces are filled in."""
        words = self.words
        filled = {name: value.format(**words) for name, value in parameters.items()}
        return changed(self.tenant[_STRINGS[endpoint]], **filled)

    def neighbours_url(self, endpoint: str) -> str:
        """The neighbour's own string for a endpoint."""
        return str(self.neighbour[_STRINGS[endpoint]])


@contextmanager
def two_tenants(platform: Installation) -> Iterator[Scenario]:
    """Two new tenants. The extensions that lead out are there, as if we had installed them."""
    tenant = platform.create(friendlyName="Attacker", ownerEmail="attacker@example.org")
    neighbour = platform.create(friendlyName="Unsuspecting", ownerEmail="someone@example.org")
    with platform.superuser(dbname=tenant["database_name"]) as server:
        server.execute(
            "CREATE EXTENSION dblink SCHEMA public; CREATE EXTENSION postgres_fdw SCHEMA public;"
            " GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO PUBLIC"
        )
    with login(neighbour["connection_string"]) as session:
        session.execute("SELECT 'neighbours query'")
        yield Scenario(platform, tenant, neighbour, session)


Try = Callable[[Scenario, str], str]


@dataclass(frozen=True)
class Lift:
    """Taking a protection away and putting it back, as a superuser in the tenant's database.

    ``rule`` is a line that comes first in pg_hba.conf meanwhile, ``pooler_rule`` one that
    does so in PgBouncer's rules, and ``pooler_setting`` replaces one of its settings. With
    ``stop_worker`` the worker stands still meanwhile.
    """

    take: tuple[str, ...] = ()
    give_back: tuple[str, ...] = ()
    rule: str | None = None
    pooler_rule: str | None = None
    pooler_setting: tuple[str, str] | None = None
    stop_worker: bool = False


def grant(what: str, to: str = '"{role}"') -> Lift:
    """Grant a privilege or a membership."""
    return Lift((f"GRANT {what} TO {to}",), (f"REVOKE {what} FROM {to}",))


def attribute(word: str) -> Lift:
    """Give the tenant's role an attribute."""
    return Lift((f'ALTER ROLE "{{role}}" {word}',), (f'ALTER ROLE "{{role}}" NO{word}',))


def owning(database: str) -> Lift:
    """Have the tenant's role own a database."""
    # Giving it back takes the role's own grants along: to the server they were its owner's.
    return Lift(
        (f'ALTER DATABASE "{database}" OWNER TO "{{role}}"', 'ALTER ROLE "{role}" CREATEDB'),
        (
            f'ALTER DATABASE "{database}" OWNER TO tenantry_owner',
            'ALTER ROLE "{role}" NOCREATEDB',
            f'REVOKE ALL ON DATABASE "{database}" FROM tenantry_owner',
            f'GRANT CONNECT, CREATE, TEMPORARY ON DATABASE "{database}" TO "{{role}}"',
        ),
    )


SUPERUSER = attribute("SUPERUSER")


@dataclass(frozen=True)
class Attempt:
    """``tries`` does it through a endpoint and shows what came of it, which must be ``answer``:
    ``THROUGH``, ``NOTHING``, an SQLSTATE, or a part of what the refusal says (by endpoint, if they
    differ). ``shown`` and ``held_by`` are the words of the documentation.
    """

    name: str
    shown: str
    held_by: str
    tries: Try
    answer: str | dict[str, str]
    lift: Lift | None
    endpoints: tuple[str, ...] = ENDPOINTS
    lift_endpoints: tuple[str, ...] = field(default=(DIRECT,))

    def expected(self, endpoint: str) -> str:
        return self.answer if isinstance(self.answer, str) else self.answer[endpoint]


def statement(
    name: str,
    text: str,
    held_by: str,
    lift: Lift | None,
    answer: str = DENIED,
    *,
    alone: bool = False,
    endpoints: tuple[str, ...] = ENDPOINTS,
) -> Attempt:
    """An attempt that is SQL; what gets through is rolled back, unless it must run ``alone``."""

    def tries(scenario: Scenario, endpoint: str) -> str:
        try:
            with login(scenario.url(endpoint)) as session:
                if not alone:
                    session.execute("BEGIN")
                cursor = session.execute(text.format(**scenario.words).encode())
                found = cursor.description is None or cursor.fetchone() is not None
                if not alone:
                    session.execute("ROLLBACK")
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            return error.sqlstate
        return THROUGH if found else NOTHING

    return Attempt(name, f"`{text}`", held_by, tries, answer, lift, endpoints)


def arrival(
    name: str,
    shown: str,
    held_by: str,
    answer: str | dict[str, str],
    lift: Lift | None,
    *,
    endpoints: tuple[str, ...] = ENDPOINTS,
    lift_endpoints: tuple[str, ...] = (DIRECT,),
    **parameters: str,
) -> Attempt:
    """An attempt to log in with other parameters than one's own string has."""

    def tries(scenario: Scenario, endpoint: str) -> str:
        return arrive(scenario.url(endpoint, **parameters))

    return Attempt(name, shown, held_by, tries, answer, lift, endpoints, lift_endpoints)


def arrive(url: str) -> str:
    """Log in, and tell what is said."""
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=15)
    except psycopg.OperationalError as error:
        return str(error)
    connection.close()
    return THROUGH


def as_superuser(scenario: Scenario, statements: tuple[str, ...]) -> None:
    """Do this in the tenant's database."""
    with scenario.platform.superuser(dbname=scenario.tenant["database_name"]) as server:
        for each in statements:
            server.execute(each.format(**scenario.words).encode())
