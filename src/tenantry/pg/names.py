"""The names of tenants' databases and roles on a cluster: the only place that builds or reads them.

=========================================  ==================================================
``tenant_SUFFIX``                          a database, and the role that admits its logins
``tenant_SUFFIX_shadow``                   its shadow, and the same for that
``tenant_SUFFIX_fresh``, ``…_loaded``      empty, to be replaced; what a drill has loaded
``tenant_SUFFIX_restoring_OPERATION``      what a restore makes, to be put in its place
``tenant_SUFFIX_copying_OPERATION``        what a branch's reset or promotion makes, likewise
``tenant_SUFFIX_moving_OPERATION``         what is being moved to another cluster
``tenant_SUFFIX_before_OPERATION``         what was replaced or moved, and is retained
``user_SUFFIX``                            its owner role
``user_SUFFIX_NAME``                       an additional role
``user_SUFFIX__authenticator``             the login of its data API: no NAME begins with ``_``
``db-…``                                   a tenant's own cluster, its instance
``tenantry_visitor_PURPOSE``               a login for one operation
``tenantry_…``                             otherwise a standing role or a database of the platform's
=========================================  ==================================================

A database that somebody has renamed by hand belongs to the tenant whose name it begins with.
"""

import re
import uuid
from dataclasses import dataclass
from typing import Literal, LiteralString, get_args

from psycopg import sql

_DATABASE = "tenant_"
_ROLE = "user_"
_PLATFORM = "tenantry_"
_VISITOR = "tenantry_visitor_"
INSTANCE = "db"
_INSTANCE_LETTERS = 6  # of the suffix: the names of clusters are short (base.local_api)
_RUNNING = "_x"  # ends the purpose of a visitor that runs the tenant's statements
_SHADOW = "_shadow"
_AUTHENTICATOR = "_authenticator"

Alone = Literal["shadow", "fresh", "loaded"]
OfOperation = Literal["restoring", "copying", "moving", "before"]
Part = Alone | OfOperation
_PARTS: dict[str, Part] = {part: part for part in (*get_args(Alone), *get_args(OfOperation))}
_OPERATION_DIGITS = 12  # of 32: names have 63 bytes at most

_DATABASE_NAME = re.compile(
    rf"{_DATABASE}([a-z0-9]+)"
    rf"(?:_({'|'.join(get_args(Alone))})"
    rf"|_({'|'.join(get_args(OfOperation))})_([0-9a-f]{{{_OPERATION_DIGITS}}}))?"
)
_ROLE_NAME = re.compile(rf"{_ROLE}([a-z0-9]+)(?:_(.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DatabaseName:
    """A tenant's database. Without ``part`` it is the main one; ``operation`` is what made it."""

    suffix: str
    part: Part | None = None
    operation: str | None = None

    def __str__(self) -> str:
        return "_".join(filter(None, (f"{_DATABASE}{self.suffix}", self.part, self.operation)))


@dataclass(frozen=True, slots=True)
class RoleName:
    """A tenant's role: without ``additional``, the owner role."""

    suffix: str
    additional: str | None = None

    def __str__(self) -> str:
        return "_".join(filter(None, (f"{_ROLE}{self.suffix}", self.additional)))


def parse_database(text: str) -> DatabaseName | None:
    """Parse a name; None if it is not one that the platform builds."""
    found = _DATABASE_NAME.fullmatch(text)
    if found is None:
        return None
    suffix, alone, of_operation, operation = found.groups()
    return DatabaseName(suffix, _PARTS.get(alone or of_operation), operation)


def parse_role(text: str) -> RoleName | None:
    found = _ROLE_NAME.fullmatch(text)
    return None if found is None else RoleName(*found.groups())


# ── databases ────────────────────────────────────────────────────────────────


def main(suffix: str) -> str:
    """Return the main database with this suffix."""
    return str(DatabaseName(suffix))


def beside(database: str, part: Alone) -> str:
    """Return a database that belongs to a main or staging one, without an operation's id."""
    return f"{database}_{part}"


def of_operation(database: str, part: OfOperation, operation_id: uuid.UUID) -> str:
    """Return the staging or retained database of an operation on a main one."""
    return f"{database}_{part}_{operation_id.hex[:_OPERATION_DIGITS]}"


def shadow(database: str) -> str:
    return beside(database, "shadow")


def main_of(database: str) -> str:
    """Return the main database of a shadow; any other name is returned as it is."""
    return database.removesuffix(_SHADOW)


def is_beside(database: str, main: str) -> bool:
    """Whether a database is of an operation on a main one, or was renamed from it by hand."""
    return database.startswith(f"{main}_") and database != shadow(main)


def suffix_of(database: str) -> str:
    """Return the random suffix that a tenant's database has in common with its role."""
    return database.removeprefix(_DATABASE).partition("_")[0]


def beginning_of_those_beside(database: str) -> str:
    """Return the prefix of the names of all databases that belong to a main one."""
    return f"{database}_"


def instances_of(database: str) -> tuple[str, str]:
    """Return the names of clusters that are created for a main database, as its instances.

    The second is for a database that has moved back and forth while its first one is retained.
    """
    suffix = suffix_of(database)
    return (
        f"{INSTANCE}-{suffix[:_INSTANCE_LETTERS]}",
        f"{INSTANCE}-{suffix[-_INSTANCE_LETTERS:]}",
    )


def is_moving(database: str, main: str) -> bool:
    """Whether a database is a main one that an operation has set aside to move it."""
    parsed = parse_database(database)
    return parsed is not None and parsed.part == "moving" and parsed.suffix == suffix_of(main)


def is_tenants_database(name: str) -> bool:
    return name.startswith(_DATABASE)


# ── roles ────────────────────────────────────────────────────────────────────


def owner(suffix: str) -> str:
    """Return the owner role of the database with this suffix."""
    return str(RoleName(suffix))


def owner_of(database: str) -> str:
    """Return the owner role of a tenant's database, or of any that belongs to that one."""
    return owner(suffix_of(database))


def additional(owner_role: str, name: str) -> str:
    """Return an additional role of a database, by the name that its owner has given it."""
    return f"{owner_role}_{name}"


def owner_role(role: str) -> str:
    """Return the owner role of the database that a role was made for.

    The names of additional roles extend it.
    """
    return "_".join(role.split("_")[:2])


def is_additional(role: str) -> bool:
    return role != owner_role(role)


def beginning_of_additional(owner_role: str) -> str:
    """Return the prefix of the names of a database's additional roles."""
    return f"{owner_role}_"


def authenticator(owner_role: str) -> str:
    """Return the role that the data API of a database logs in as."""
    return additional(owner_role, _AUTHENTICATOR)


def is_authenticator(role: str) -> bool:
    return role == authenticator(owner_role(role))


def database_of(role: str) -> str:
    """Return the database that a tenant's role was made for; the inverse of ``owner_of``."""
    return main("_".join(role.split("_")[1:2]))


def arrival_roles(role: str) -> tuple[str, str]:
    """Return the roles named like a tenant's databases, whose members may connect from anywhere.

    By the keyword ``samerole`` of pg_hba.conf. They are that tenant's alone, cannot log in and have
    no rights.
    """
    database = database_of(role)
    return database, shadow(database)


def is_tenants_role(name: str) -> bool:
    return name.startswith(_ROLE)


# ── visitors ─────────────────────────────────────────────────────────────────


def visitor(purpose: str) -> str:
    """Return the login for one operation, or for one short visit."""
    return f"{_VISITOR}{purpose}"


def running(purpose: str) -> str:
    """Return the purpose of a visitor that runs statements of the tenant's, not the platform's."""
    return f"{purpose}{_RUNNING}"


def is_for_the_platform(name: str) -> bool:
    """Whether a role is a visitor that sends statements of the platform's own."""
    return is_visitor(name) and not name.endswith(_RUNNING)


def purpose_of(visitor: str) -> str:
    return visitor.removeprefix(_VISITOR)


def is_visitor(name: str) -> bool:
    return name.startswith(_VISITOR)


# ── in SQL ───────────────────────────────────────────────────────────────────
# Conditions on an expression. LIKE would take a _ for any letter.


def _starts_with(of: LiteralString, beginning: str) -> sql.Composed:
    return sql.SQL("starts_with({}, {})").format(sql.SQL(of), sql.Literal(beginning))


def sql_tenants_role(of: LiteralString) -> sql.Composed:
    return _starts_with(of, _ROLE)


def sql_authenticator(of: LiteralString) -> sql.Composed:
    ending = f"_{_AUTHENTICATOR}"
    return sql.SQL("({} AND right({}, {}) = {})").format(
        sql_tenants_role(of), sql.SQL(of), sql.Literal(len(ending)), sql.Literal(ending)
    )


def sql_visitor(of: LiteralString) -> sql.Composed:
    return _starts_with(of, _VISITOR)


def sql_tenants_database(of: LiteralString) -> sql.Composed:
    return _starts_with(of, _DATABASE)


def sql_arrival_role(of: LiteralString) -> sql.Composed:
    return _starts_with(of, _DATABASE)


def is_platforms(role: str) -> bool:
    """Whether a role may be a standing one of the platform, or a visitor."""
    return role.startswith(_PLATFORM)


def sql_platforms(of: LiteralString) -> sql.Composed:
    """Return the condition for a standing role of the platform, or a visitor."""
    return _starts_with(of, _PLATFORM)


def sql_standing_role(of: LiteralString) -> sql.Composed:
    return sql.SQL("({} AND NOT {})").format(sql_platforms(of), sql_visitor(of))
