"""``tenantry migrate`` on a database by its connection string, as a person runs it."""

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from migrating import write

from tenantry.cli import main

FILES = {
    "000001_one.up.sql": "CREATE TABLE one (i int)",
    "000001_one.down.sql": "DROP TABLE one",
    "000002_two.up.sql": "CREATE INDEX CONCURRENTLY two ON one (i)",
    "000002_two.down.sql": "DROP INDEX CONCURRENTLY two",
    "000003_three.up.sql": "ALTER TABLE one ADD j int NOT NULL;",
}


@dataclass(frozen=True)
class Done:
    stdout: str
    stderr: str


@dataclass
class Migrate:
    """The program, from its arguments to its exit code."""

    dsn: str
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str, code: int = 0) -> Done:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TENANTRY_DATABASE_URL", self.dsn)
            patch.chdir(self.folder.parent)
            patch.setattr(sys, "argv", ["tenantry", "migrate", *words])
            patch.setattr(sys, "stdin", io.StringIO())
            with pytest.raises(SystemExit) as ended:
                main.run()
        done = Done(*self.capsys.readouterr())
        assert ended.value.code == code, done
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def ask(self, query: str) -> list[Any]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query.encode()).fetchall()

    @property
    def recorded(self) -> list[Any]:
        return self.ask("SELECT version, dirty FROM schema_migrations")


@pytest.fixture
def migrate(fresh_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Migrate:
    folder = tmp_path / "migrations"
    folder.mkdir()
    return Migrate(fresh_database, write(folder, FILES), capsys)


def test_from_the_first_file_to_the_last_and_back(migrate: Migrate) -> None:
    assert migrate.json("version") == {"version": None, "dirty": False}
    plan = migrate.json("plan")
    assert [(each["file"], each["transaction"]) for each in plan] == [
        ("000001_one.up.sql", True),
        ("000002_two.up.sql", False),
        ("000003_three.up.sql", True),
    ]
    assert [each["rule"] for each in plan[2]["findings"]] == ["column-without-default"]
    assert migrate.ask("SELECT to_regclass('one')") == [(None,)]

    assert migrate.json("up", "2") == {
        "version": 2,
        "dirty": False,
        "steps": [
            {"version": 1, "direction": "up", "file": "000001_one.up.sql", "empty": False},
            {"version": 2, "direction": "up", "file": "000002_two.up.sql", "empty": False},
        ],
    }
    status = migrate.json("status")
    assert [each["state"] for each in status["migrations"]] == ["applied", "applied", "pending"]
    assert status["known"]

    done = migrate.run("goto", "1")
    assert done.stdout == "2/down 000002_two.down.sql\n"
    assert "clean at version 1" in done.stderr
    assert migrate.recorded == [(1, False)]
    migrate.run("down", code=1)  # nobody says yes
    assert migrate.recorded == [(1, False)]
    migrate.run("down", "--yes")
    assert migrate.ask("SELECT to_regclass('one')") == [(None,)]


def test_a_file_without_a_statement_is_applied_and_reported(migrate: Migrate) -> None:
    write(migrate.folder, {"000001_one.up.sql": "-- to be written\n"})
    done = migrate.run("up", "1")
    assert done.stdout == "1/up 000001_one.up.sql\n"
    assert "000001_one.up.sql contains no statement." in done.stderr
    assert migrate.recorded == [(1, False)]


def test_a_failure_names_file_line_statement_and_reason(
    migrate: Migrate,
) -> None:
    write(migrate.folder, {"000001_one.up.sql": "CREATE TABLE one (i int);\n\nSELECT 1/0"})
    done = migrate.run("up", code=1)
    assert "000001_one.up.sql, line 3: division by zero" in done.stderr
    assert "SELECT 1/0" in done.stderr
    assert "clean at no version" in done.stderr
    migrate.run("force", "2")
    assert migrate.run("version").stdout == "2\n"
    assert migrate.recorded == [(2, False)]


def test_an_edited_file_is_reported_and_accepted(migrate: Migrate) -> None:
    migrate.run("up", "1")
    write(migrate.folder, {"000001_one.up.sql": "CREATE TABLE one (i bigint)"})
    assert migrate.json("status")["migrations"][0]["state"] == "edited"
    assert "000001_one.up.sql" in migrate.run("up", "1", code=1).stderr
    migrate.run("up", "1", "--accept-edited")
    assert migrate.json("status")["migrations"][0]["state"] == "applied"


def test_lint_fails_when_it_finds_something(migrate: Migrate) -> None:
    (finding,) = migrate.json("lint", code=1)
    assert (finding["file"], finding["line"], finding["rule"]) == (
        "000003_three.up.sql",
        1,
        "column-without-default",
    )
    assert "column-without-default" in migrate.run("lint", code=1).stdout
    write(
        migrate.folder,
        {
            "000003_three.up.sql": "-- tenantry: allow column-without-default\n"
            "ALTER TABLE one ADD j int NOT NULL"
        },
    )
    assert migrate.json("lint") == []


def test_new_files_follow_the_others(migrate: Migrate) -> None:
    assert migrate.json("create", "add tags") == [
        "migrations/000004_add_tags.up.sql",
        "migrations/000004_add_tags.down.sql",
    ]
    assert (migrate.folder / "000004_add_tags.up.sql").read_text() == ""
    migrate.run("create", "../evil", code=1)


@pytest.mark.parametrize("url", ["", "nonsense://x", "postgresql:///x?host=/nowhere"])
def test_a_database_that_cannot_be_had_is_reported(migrate: Migrate, url: str) -> None:
    migrate.dsn = url
    done = migrate.run("version", code=1)
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr
