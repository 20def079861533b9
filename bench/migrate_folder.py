"""How long a folder of 64 MiB takes one database, by `tenantry migrate up` beside `psql -1 -f`.

The rows are the same in each shape; what differs is how many statements they are in.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from support import MIB, Installation, say, settle

FILES = 8
ROWS_TOGETHER = 200
PATIENCE = 3600
TABLE = "CREATE TABLE events (id int PRIMARY KEY, kind text, payload text);\n"
UNDO = "DROP TABLE IF EXISTS events, schema_migrations, tenantry_migrations"

Figures = dict[str, Any]


_INSERT = "INSERT INTO events (id, kind, payload) VALUES {};\n"
_SEE = "UPDATE events SET kind = 'seen' WHERE id = {};\n"
_DELETE = "DELETE FROM events WHERE id = {};\n"


def _row(number: int) -> str:
    return f"({number}, 'kind {number % 17}', 'what happened, and where, at number {number}')"


def _short(number: int) -> str:
    return _INSERT.format(_row(number))


def _multi_row(number: int) -> str:
    first = number * ROWS_TOGETHER
    return _INSERT.format(",\n".join(map(_row, range(first, first + ROWS_TOGETHER))))


def _mixed(number: int) -> str:
    return _short(number) + _SEE.format(number) + _DELETE.format(number - 3)


SHAPES = {"short_inserts": _short, "inserts_of_200_rows": _multi_row, "small_statements": _mixed}


def _files(shape: Callable[[int], str], size: int) -> Iterator[tuple[str, str, int]]:
    """Names and texts of files with that many bytes in all, and how many statements each has."""
    number = 0
    for index in range(FILES):
        parts = [TABLE] if index == 0 else []
        length = 0
        while length < size // FILES:
            parts.append(shape(number))
            length += len(parts[-1])
            number += 1
        text = "".join(parts)
        yield f"{index + 1:06}_events.up.sql", text, text.count(";\n")


def _measured(here: Installation, shape: Callable[[int], str], size: int) -> Figures:
    database = here.create(friendlyName="Large", shadow=False, diskQuotaBytes=4096 * MIB)
    url = database["connection_string"]
    count = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for file, text, statements in _files(shape, size):
            (folder / file).write_text(text)
            count += statements
        took, rows = {}, []
        for way in ("psql", "tenantry"):
            began = time.perf_counter()
            if way == "psql":
                for path in sorted(folder.iterdir()):
                    command = ["psql", "-qAtXw", "-v", "ON_ERROR_STOP=1", "-1", "-f", path, url]
                    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            else:
                words = ("--path", name, "--database", database["database_name"])
                here.tenantry("migrate", "up", *words)
            took[way] = time.perf_counter() - began
            with psycopg.connect(url, autocommit=True) as session:
                rows += session.execute("SELECT count(*) FROM events").fetchall()
                session.execute(UNDO)
            settle(here)
    return {
        "mib": round(size / MIB),
        "statements": count,
        "rows": [count for (count,) in rows],
        "psql_seconds": round(took["psql"], 1),
        "seconds": round(took["tenantry"], 1),
        "of_psql": round(took["tenantry"] / took["psql"], 2),
        "microseconds_a_statement": round(took["tenantry"] / count * 1e6),
    }


def measure(here: Installation, *, quick: bool) -> Figures:
    """Each shape of folder, one after the other."""
    here.patience = PATIENCE
    found: Figures = {}
    for name, shape in SHAPES.items():
        found[name] = _measured(here, shape, (4 if quick else 64) * MIB)
        say(f"{name}: {found[name]}")
    return found
