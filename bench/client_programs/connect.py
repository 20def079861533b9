"""Ask who and where one is, by the client that is named, on the string in CONNECTION."""

# ruff: noqa: PLC0415 (one client's fault is not to be another's)

import asyncio
import os
import sys

QUERY = "SELECT current_user || '|' || current_database()"
STRING = os.environ["CONNECTION"]


def django() -> str:
    from django.conf import settings
    from django.db import connection

    names: dict[str, object] = {}
    exec(STRING, names)  # noqa: S102 (it is Python, for a settings module)
    settings.configure(DATABASES=names["DATABASES"])
    with connection.cursor() as cursor:
        cursor.execute(QUERY)
        return str(cursor.fetchone()[0])


def sqlalchemy(driver: str = "psycopg") -> str:
    from sqlalchemy import create_engine, text

    url = STRING.replace("postgresql+psycopg:", f"postgresql+{driver}:")
    with create_engine(url).connect() as connection:
        return str(connection.scalar(text(QUERY)))


def asyncpg() -> str:
    import asyncpg

    async def ask() -> str:
        connection = await asyncpg.connect(STRING)
        try:
            return str(await connection.fetchval(QUERY))
        finally:
            await connection.close()

    return asyncio.run(ask())


CLIENTS = {
    "django": django,
    "sqlalchemy psycopg": sqlalchemy,
    "sqlalchemy psycopg2": lambda: sqlalchemy("psycopg2"),
    "asyncpg": asyncpg,
}
print(CLIENTS[sys.argv[1]]())
