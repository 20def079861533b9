"""The attempts to write what no quota counts. See attempts.py."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from attempts import DIRECT, ENDPOINTS, POOLED, THROUGH, Attempt, Lift, Scenario, grant, statement
from clients import eventually, login

MIB = 2**20
ENDED = "ended"
_STRINGS = {DIRECT: "connection_string", POOLED: "connection_string_pooled"}
_ROUND = 8 * MIB  # what one statement of each writes, about
_DEADLINE = 120.0
# In one transaction that writes nothing else, 192 MB.
SETTINGS = """
    DO $$
    DECLARE v text := (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 1000));
    BEGIN
        FOR i IN 1..6000 LOOP
            EXECUTE format('ALTER ROLE CURRENT_USER SET search_path = %L', i || v);
        END LOOP;
    END $$
"""
_WATCHED = "the worker reads twice a second whose it is, and pauses the database"
_UNWATCHED = Lift(stop_worker=True)


@contextmanager
def _small(scenario: Scenario) -> Iterator[dict[str, Any]]:
    """A database of 64 MiB for this attempt alone: being paused, it disturbs no other."""
    made = scenario.platform.create(diskQuotaBytes=64 * MIB)
    try:
        yield made
    finally:
        with scenario.platform.client() as api:
            api.delete(f"/api/databases/{made['id']}")


def _write(url: str, text: str, most: int, *, first: str = "SELECT 1") -> str:
    """Repeat a statement until ``most`` bytes are written, connecting again where it can."""
    rounds, deadline = most // _ROUND, time.monotonic() + _DEADLINE
    while rounds > 0 and time.monotonic() < deadline:
        try:
            with login(url) as session:
                session.execute(first.encode())
                while rounds > 0:
                    session.execute(text.encode())
                    rounds -= 1
        except psycopg.Error:
            return ENDED
    return THROUGH


def _wal(scenario: Scenario, endpoint: str) -> str:
    with _small(scenario) as made:
        return _write(
            made[_STRINGS[endpoint]],
            "TRUNCATE again; INSERT INTO again SELECT repeat(md5(g::text), 31)"
            " FROM generate_series(1, 8192) g",
            768 * MIB,
            first="CREATE TABLE IF NOT EXISTS again (x text)",
        )


def _notify(scenario: Scenario, endpoint: str) -> str:
    with _small(scenario) as made, login(made["connection_string"]) as listener:
        listener.execute("LISTEN n")
        listener.execute("BEGIN")
        listener.execute("SELECT 1")
        try:
            return _write(
                made[_STRINGS[endpoint]],
                "SELECT count(pg_notify('n', g || repeat('x', 7900)))"
                " FROM generate_series(1, 1024) g",
                768 * MIB,  # the queue has room for 8 GiB
            )
        finally:
            with suppress(psycopg.Error):
                listener.rollback()


def _settings(scenario: Scenario, endpoint: str) -> str:
    with _small(scenario) as made:
        return _write(made[_STRINGS[endpoint]], SETTINGS, _ROUND)


def policies(role: str, count: int) -> Iterator[str]:
    """Policies of a table p, each for 200,000 times the same role."""
    names = ",".join([role] * 200_000)
    for number in range(count):
        yield f"CREATE POLICY p{number} ON p TO {names}"


def _policies(scenario: Scenario, endpoint: str) -> str:
    with _small(scenario) as made:
        try:
            with login(made[_STRINGS[endpoint]]) as session:
                session.execute("CREATE TABLE p (a int)")
                for each in policies(made["username"], 12):
                    session.execute(each.encode())
        except psycopg.Error:
            return ENDED
    return THROUGH


def texts_size(scenario: Scenario) -> int:
    """What the texts of statements take, which pg_stat_statements stores for all tenants."""
    folder = scenario.platform.home / "clusters" / "shared-1" / "data" / "pg_stat_tmp"
    return (folder / "pgss_query_texts.stat").stat().st_size


def long_statements(count: int) -> Iterator[str]:
    """Different statements of 4 MiB each; a constant would be left out of what is stored."""
    for number in range(count):
        yield f"SELECT /* {'x' * 4 * MIB} */ {', '.join('1' * (number + 1))}"


def _texts(scenario: Scenario, endpoint: str) -> str:
    with _small(scenario) as made:
        for text in long_statements(32):
            with suppress(psycopg.Error), login(made[_STRINGS[endpoint]]) as session:
                session.execute(text.encode())
        try:
            eventually(lambda: texts_size(scenario) < 64 * MIB, seconds=20)
        except AssertionError:
            return THROUGH
    return ENDED


def _attempt(
    name: str, shown: str, tries: Callable[[Scenario, str], str], endpoints: Any
) -> Attempt:
    return Attempt(name, shown, _WATCHED, tries, ENDED, _UNWATCHED, endpoints)


DISK: tuple[Attempt, ...] = (
    _attempt("write-wal", "768 MiB of write-ahead log from a database of 64 MiB", _wal, ENDPOINTS),
    _attempt(
        "fill-notify-queue",
        "768 MiB of `pg_notify(…)`, while a session of one's own listens in a transaction",
        _notify,
        (DIRECT,),
    ),
    _attempt(
        "fill-shared-catalogs",
        "`ALTER ROLE … SET` of 32 KB, 6,000 times in a transaction",
        _settings,
        ENDPOINTS,
    ),
    _attempt(
        "fill-shared-dependencies",
        "12 policies that name a role 200,000 times each",
        _policies,
        (DIRECT,),
    ),
    Attempt(
        "fill-statement-texts",
        "32 different statements of 4 MiB",
        "the worker looks each second, forgets them beyond 64 MiB, and has no more recorded",
        _texts,
        ENDED,
        _UNWATCHED,
        ENDPOINTS,
    ),
    statement(
        "emit-wal-message",
        "SELECT pg_logical_emit_message(false, 'x', 'x')",
        "`REVOKE EXECUTE … FROM PUBLIC` in the template",
        grant("EXECUTE ON FUNCTION pg_logical_emit_message(bool, text, text)"),
    ),
)
