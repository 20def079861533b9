"""Connection strings as a dialog offers them: by client and by endpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from tenantry.base.connection_strings import FORMATS, MASK, Format, Style
from tenantry.base.settings import Settings
from tenantry.control.databases import DatabaseRow
from tenantry.services.databases.model import ConnectionStrings, connection_strings, main_strings
from tenantry.services.roles.model import Role
from tenantry.web import pages

_TITLES: dict[Format, str] = {
    "psql": "psql",
    "node": "Node.js",
    "prisma": "Prisma",
    "drizzle": "Drizzle",
    "django": "Django",
    "sqlalchemy": "SQLAlchemy",
    "asyncpg": "asyncpg",
    "jdbc": "JDBC",
    "go": "Go",
    "pgadmin": "pgAdmin",
}


@dataclass(frozen=True, slots=True)
class Offered:
    """The strings for one kind of client: for the cluster's own port, and for the pooler's."""

    title: str
    direct: str
    pooled: str


def dialog(
    request: Request,
    settings: Settings,
    database: DatabaseRow,
    offered: Sequence[Offered],
    *,
    heading: str,
    password: str | None,
    note: str | None = None,
    onward: str | None = None,
    more: Mapping[str, str] | None = None,
) -> Response:
    """Show strings, and the password in them if it is known: it is, only now.

    ``note`` is what else there is to say, and ``more`` are further secrets, by what they are.
    Then it leads ``onward``: to the database by default.
    """
    path = f"/databases/{database.id}"
    return pages.dialog(
        request,
        "strings.html",
        heading=heading,
        password=password,
        note=note,
        more=more or {},
        offered=offered,
        path=path,
        onward=onward or path,
        domain=settings.domain,
        is_local=settings.is_local,
    )


def of_database(settings: Settings, row: DatabaseRow, password: str = MASK) -> list[Offered]:
    """Return a database's strings for each kind of client, psql's first."""
    found = {form: connection_strings(settings, row, password, Style(form)) for form in FORMATS}
    return _offered(found)


def of_role(settings: Settings, role: Role, password: str = MASK) -> list[Offered]:
    """Return an additional role's strings as ``of_database`` does."""
    database, username = role.database, role.row.username
    found = {
        form: main_strings(settings, database, username, password, Style(form)) for form in FORMATS
    }
    return _offered(found)


def _offered(found: dict[Format, ConnectionStrings]) -> list[Offered]:
    offered = [
        Offered(_TITLES[form], each.connection_string, each.connection_string_pooled)
        for form, each in found.items()
        if form != "prisma"
    ]
    both = _variables(found["psql"]), _prisma(found["prisma"])
    return [offered[0], *(Offered(title, text, text) for title, text in both), *offered[1:]]


def _variables(strings: ConnectionStrings) -> tuple[str, str]:
    lines = {
        "DATABASE_URL": strings.connection_string_pooled,
        "DIRECT_URL": strings.connection_string,
    }
    return ".env", _assigned(lines)


def _prisma(strings: ConnectionStrings) -> tuple[str, str]:
    names = {
        "DATABASE_URL": "database_url",
        "DIRECT_URL": "direct_url",
        "SHADOW_DATABASE_URL": "shadow_database_url",
    }
    lines = {name: strings.prisma[key] for name, key in names.items() if key in strings.prisma}
    return _TITLES["prisma"], _assigned(lines)


def _assigned(lines: dict[str, str]) -> str:
    return "\n".join(f'{name}="{value}"' for name, value in lines.items())
