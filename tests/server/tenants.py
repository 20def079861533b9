"""Tenants of a hardened server, as they are given to their owners."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.secrets import Secret, scram_verifier
from tenantry.pg import objects
from tenantry.pg.connections import Address

Connection = AsyncConnection[TupleRow]

PASSWORD = Secret("a-password")


async def rows(connection: Connection, query: str, *parameters: object) -> list[Any]:
    return await (await connection.execute(query.encode(), parameters)).fetchall()


@dataclass(frozen=True)
class Tenant:
    """A role with two databases, as they are given to their owner."""

    address: Address
    suffix: str

    @property
    def role(self) -> str:
        return f"user_{self.suffix}"

    @property
    def databases(self) -> list[str]:
        return [f"tenant_{self.suffix}", f"tenant_{self.suffix}_shadow"]

    def dsn(self, database: str | None = None) -> str:
        return self.address.conninfo(
            user=self.role, dbname=database or self.databases[0], search_path="public"
        )

    async def session(self, database: str | None = None) -> Connection:
        return await AsyncConnection.connect(self.dsn(database), autocommit=True)


async def make(platform: Connection, address: Address) -> Tenant:
    tenant = Tenant(address, uuid4().hex[:12])
    await objects.ensure_role(platform, tenant.role)
    for name in tenant.databases:
        await objects.ensure_database(platform, address, name, tenant=tenant.role)
    await objects.open_role(
        platform, tenant.role, verifier=scram_verifier(PASSWORD), max_connections=5
    )
    return tenant


async def unmake(platform: Connection, tenant: Tenant) -> None:
    for name in tenant.databases:
        await objects.drop_database(platform, name)
    await objects.drop_role(platform, tenant.role)
