"""Initial settings of sessions in one database (ALTER DATABASE … SET, ALTER ROLE … IN DATABASE)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenantry.pg.connections import ADMIN, Address, connect


@dataclass(frozen=True, slots=True)
class OwnSetting:
    """A setting of a role's new sessions, in one database or (None) in all."""

    role: str
    database: str | None
    name: str
    value: str


async def own(address: Address, role: str, databases: Sequence[str]) -> list[OwnSetting]:
    """Return the settings of a role alone, in these databases or in all."""
    async with connect(address, user=ADMIN) as admin:
        cursor = await admin.execute(
            """
            SELECT r.rolname::text, d.datname::text, split_part(setting, '=', 1),
                substr(setting, strpos(setting, '=') + 1)
            FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) setting
                JOIN pg_roles r ON r.oid = s.setrole
                LEFT JOIN pg_database d ON d.oid = s.setdatabase
            WHERE r.rolname = %s AND (s.setdatabase = 0 OR d.datname = ANY (%s))
            ORDER BY 2 NULLS FIRST, 3
            """,
            (role, list(databases)),
        )
        return [OwnSetting(*row) for row in await cursor.fetchall()]


async def of_login(address: Address, role: str, database: str) -> dict[str, str]:
    """Return the initial settings of a role's sessions in a database."""
    async with connect(address, user=ADMIN) as admin:
        cursor = await admin.execute(
            """
            SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
            FROM pg_db_role_setting, unnest(setconfig) setting
            WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = %s))
              AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = %s))
            ORDER BY setrole <> 0, setdatabase <> 0
            """,
            (role, database),
        )
        return dict(await cursor.fetchall())  # later rows take precedence


async def copy(
    source: Address, target: Address, roles: Sequence[str], databases: Mapping[str, str]
) -> None:
    """Give roles of one cluster the settings that they have on another, and no others.

    ``databases`` has, by name there, the name here of each database with settings of its own. As
    the superuser: there is no statement that copies settings, lists and quotes included. A tenant
    can only set what any session may.
    """
    async with connect(source, user=ADMIN) as admin:
        cursor = await admin.execute(
            """
            SELECT r.rolname::text, d.datname::text, s.setconfig
            FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
                LEFT JOIN pg_database d ON d.oid = s.setdatabase
            WHERE r.rolname = ANY (%s) AND (s.setdatabase = 0 OR d.datname = ANY (%s))
            """,
            (list(roles), list(databases)),
        )
        found = await cursor.fetchall()
    async with connect(target, user=ADMIN) as admin, admin.transaction():
        await admin.execute(
            "DELETE FROM pg_db_role_setting"
            " WHERE setrole IN (SELECT oid FROM pg_roles WHERE rolname = ANY (%s))",
            (list(roles),),
        )
        for role, database, settings in found:
            await admin.execute(
                """
                INSERT INTO pg_db_role_setting (setdatabase, setrole, setconfig)
                SELECT coalesce((SELECT oid FROM pg_database WHERE datname = %s), 0), r.oid, %s
                FROM pg_roles r WHERE r.rolname = %s
                """,
                (database and databases[database], settings, role),
            )


async def apply(
    address: Address, role: str, database: str, settings: Mapping[str, str]
) -> dict[str, str]:
    """Set these settings of a role's new sessions in a database, with the rights of that role.

    Returns the reasons of those that cannot be set, by name. The values are as in
    pg_db_role_setting: set_config takes them so, lists included, where SET would need them split.
    """
    failed: dict[str, str] = {}
    async with connect(address, user=ADMIN) as admin, admin.transaction():
        await admin.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        for name, value in settings.items():
            try:
                async with admin.transaction():
                    await admin.execute("SELECT set_config(%s, %s, true)", (name, value))
                    await admin.execute(
                        sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} FROM CURRENT").format(
                            sql.Identifier(role),
                            sql.Identifier(database),
                            sql.Identifier(name),
                        )
                    )
            except psycopg.Error as error:
                failed[name] = error.diag.message_primary or str(error)
    return failed
