"""The blueprints' own files in databases of tenants, for the tests of their schemas."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from migrating import connect
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from tenants import Tenant, make, unmake

from tenantry.pg.connections import ADMIN, PLATFORM, Address
from tenantry.pg.connections import connect as connect_as
from tenantry.pg.hardening import ensure_standing_roles
from tenantry.services.migrations import service
from tenantry_rls import TenantContext, tenant_transaction

CATALOGUE = Path(str(resources.files("tenantry"))) / "services" / "blueprints" / "catalogue"
UPGRADED = ("hosting", "billing", "todos")  # what has more than one version
NAMES = (*UPGRADED, "auth")
SERVED = {"todos": "api.todos", "auth": "api.profiles"}  # by the data API
ADMINISTRATOR = TenantContext(user_role="administrator")

Session = psycopg.Connection[dict[str, Any]]


def manifest(name: str) -> dict[str, Any]:
    return tomllib.loads((CATALOGUE / name / "blueprint.toml").read_text())


def version(name: str, number: int) -> int:
    """The last migration of a blueprint's version."""
    return int(manifest(name)["versions"][number - 1]["migration"])


def newest(name: str) -> int:
    """The last migration of a blueprint."""
    return version(name, 0)


async def go(dsn: str, name: str, to: int | None) -> None:
    async with await connect(dsn) as conn:
        await service.goto(conn, CATALOGUE / name / "migrations", to)


def sow(dsn: str, name: str) -> None:
    """Put its development seeds in, in one transaction."""
    with psycopg.connect(dsn) as conn:
        conn.execute((CATALOGUE / name / "seeds" / "development.sql").read_bytes())


def texts(dsn: str, query: LiteralString) -> list[str]:
    with psycopg.connect(dsn) as conn:
        return [text for (text,) in conn.execute(query)]


@dataclass(frozen=True)
class Kept:
    """A tenant's database with a blueprint's newest version, its seeds, and an additional role."""

    tenant: Tenant
    app: str

    def dsn(self, user: str | None = None) -> str:
        return self.tenant.address.conninfo(
            user=user or self.tenant.role, dbname=self.tenant.databases[0], search_path="public"
        )


Blueprints = dict[str, Kept]


async def keep(address: Address, name: str) -> Kept:
    async with connect_as(address, user=PLATFORM) as platform:
        tenant = await make(platform, address)
        await ensure_standing_roles(address, shared=True)  # which grants of some name
    await go(tenant.dsn(), name, newest(name))
    sow(tenant.dsn(), name)
    app = f"{tenant.role}_app"
    async with connect_as(address, user=ADMIN, dbname=tenant.databases[0]) as admin:
        role = sql.Identifier(app)
        for statement in (
            "CREATE ROLE {} LOGIN",
            "GRANT CONNECT ON DATABASE {database} TO {}",
            "GRANT USAGE ON SCHEMA public TO {}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}",
        ):
            await admin.execute(
                sql.SQL(statement).format(role, database=sql.Identifier(tenant.databases[0]))
            )
        if table := SERVED.get(name):
            await admin.execute(sql.SQL("GRANT USAGE ON SCHEMA api TO {}").format(role))
            await admin.execute(
                sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}").format(
                    sql.Identifier(*table.split(".")), role
                )
            )
    return Kept(tenant, app)


async def let_go(address: Address, kept: Kept) -> None:
    async with connect_as(address, user=PLATFORM) as platform:
        await unmake(platform, kept.tenant)
    async with connect_as(address, user=ADMIN) as admin:
        await admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(kept.app)))


@contextmanager
def acting(kept: Kept, context: TenantContext | None = ADMINISTRATOR) -> Iterator[Session]:
    """The application's login in somebody's transaction, undone at the end."""
    with (
        psycopg.connect(kept.dsn(kept.app), row_factory=dict_row) as conn,
        conn.transaction(force_rollback=True),
    ):
        if context is None:
            yield conn
        else:
            with tenant_transaction(conn, context):
                yield conn


def insert(conn: Session, table: str, **values: Any) -> dict[str, Any]:
    """A row, as PostgreSQL has it afterwards."""
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
    )
    given = {key: Jsonb(each) if isinstance(each, dict) else each for key, each in values.items()}
    with conn.transaction():
        return conn.execute(query, given).fetchone() or {}


def change(conn: Session, table: str, key: object, **values: Any) -> int:
    """How many rows were changed."""
    query = sql.SQL("UPDATE {} SET {} WHERE id = {}").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in values.items()
        ),
        key,
    )
    with conn.transaction():
        return conn.execute(query).rowcount


def ids(conn: Session, table: str) -> set[Any]:
    query = sql.SQL("SELECT id FROM {}").format(sql.Identifier(*table.split(".")))
    return {row["id"] for row in conn.execute(query)}
