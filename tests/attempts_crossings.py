"""The attempts that two sessions, or a session and the platform's own work, are needed for."""

import os
import pwd
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from attempts import DIRECT, NOTHING, THROUGH, Attempt, Lift, Scenario, grant, owning
from clients import eventually, login
from harness import SERVICE_USER

_SAME = "PostgreSQL keeps it within one database, and the neighbour's is closed"
_PLANTED = "planted by a tenant"


def _as_near_as_possible(scenario: Scenario, endpoint: str) -> psycopg.Connection[TupleRow]:
    """A session in the neighbour's database, or else in one's own."""
    try:
        return login(scenario.url(endpoint, dbname="{foreign}"))
    except psycopg.OperationalError:
        return login(scenario.url(endpoint))


def _notify(scenario: Scenario, endpoint: str) -> str:
    with (
        login(scenario.neighbours_url(DIRECT)) as listener,
        _as_near_as_possible(scenario, endpoint) as session,
    ):
        listener.execute("LISTEN everybody")
        session.execute("NOTIFY everybody, 'hello'")
        # What was sent by now comes before the answer.
        listener.execute("SELECT 1")
        heard = list(listener.notifies(timeout=0, stop_after=1))
    return THROUGH if heard else NOTHING


def _advisory(scenario: Scenario, endpoint: str) -> str:
    with (
        login(scenario.neighbours_url(DIRECT)) as holder,
        _as_near_as_possible(scenario, endpoint) as session,
    ):
        holder.execute("SELECT pg_advisory_lock(4711)")
        row = session.execute("SELECT pg_try_advisory_xact_lock(4711)").fetchone()
    return NOTHING if row == (True,) else THROUGH


def _invite(scenario: Scenario, endpoint: str) -> str:
    """Open one's own database to the neighbour, who would find a trap there."""
    words = scenario.words
    with login(scenario.url(endpoint)) as session, suppress(psycopg.errors.InsufficientPrivilege):
        session.execute(
            f'GRANT ALL ON DATABASE "{words["database"]}" TO PUBLIC'.encode()  # warns only
        )
    with scenario.platform.superuser() as server:
        row = server.execute(
            "SELECT has_database_privilege(%s, %s, 'CONNECT')",
            (words["neighbour"], words["database"]),
        ).fetchone()
    return NOTHING if row == (False,) else THROUGH


def _index_expression(scenario: Scenario, endpoint: str) -> str:
    """Code that a superuser's VACUUM and ANALYZE run: as whom?"""
    with login(scenario.url(endpoint)) as session:
        session.execute(
            """
            DROP TABLE IF EXISTS bait, seen;
            CREATE TABLE seen (who name);
            CREATE TABLE bait (i int);
            CREATE OR REPLACE FUNCTION write() RETURNS void LANGUAGE sql AS
                'INSERT INTO public.seen VALUES (current_user)';
            CREATE OR REPLACE FUNCTION trap(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                $$ BEGIN PERFORM public.write(); RETURN i; END $$;
            INSERT INTO bait SELECT generate_series(1, 10);
            CREATE INDEX ON bait (trap(i));
            GRANT ALL ON seen TO PUBLIC;
            TRUNCATE seen
            """
        )
        with suppress(psycopg.errors.InsufficientPrivilege):
            session.execute("ALTER TABLE bait OWNER TO tenantry_admin")
    with scenario.platform.superuser(dbname=scenario.words["database"]) as server:
        server.execute("SET search_path = pg_catalog")
        server.execute("ANALYZE public.bait")
        found = {who for (who,) in server.execute("SELECT DISTINCT who FROM public.seen")}
    assert found, "the trap was not sprung"
    return NOTHING if found == {scenario.words["role"]} else THROUGH


def _log_texts(scenario: Scenario) -> str:
    """All logs, with what is on its way to them."""

    def texts() -> str:
        logs = scenario.platform.home / "logs"
        return "\n".join(path.read_text(errors="replace") for path in logs.iterdir())

    last = f"last {uuid.uuid4()}"
    with scenario.platform.superuser() as server:
        server.execute(f"DO $$ BEGIN RAISE WARNING '{last}'; END $$".encode())
    eventually(lambda: last in texts())
    return texts()


def _password_in_log(scenario: Scenario, endpoint: str) -> str:
    secret = f"hunter2-{scenario.words['role']}-{endpoint}"
    for text in (
        f'ALTER ROLE CURRENT_USER PASSWORD "{secret}"',
        f"ALTER ROLE no_such_role PASSWORD '{secret}'",
        f"ALTER ROLE CURRENT_USER PASSWORD '{secret}",
        f"SELECT '{secret}'::int",
    ):
        with login(scenario.url(endpoint)) as session, suppress(psycopg.DatabaseError):
            session.execute(text.encode())
    reported = _log_texts(scenario)
    assert "SCRAM-SHA-256$" not in reported
    assert scenario.tenant["password"] not in reported
    assert scenario.neighbour["password"] not in reported
    return THROUGH if secret in reported else NOTHING


def _words_in_log(scenario: Scenario, endpoint: str) -> str:
    mark = f"{_PLANTED} {scenario.words['role']} {endpoint}"
    with login(scenario.url(endpoint)) as session:
        session.execute("SET debug_print_parse = on")
        session.execute(f"DO $$ BEGIN RAISE LOG '{mark}'; END $$".encode())
        session.execute(f"DO $$ BEGIN RAISE WARNING '{mark}'; END $$".encode())
    return THROUGH if mark in _log_texts(scenario) else NOTHING


def _hold_up_a_deletion(scenario: Scenario, endpoint: str) -> str:
    """Grant something to a role, which PostgreSQL then cannot drop."""
    other = scenario.platform.create()
    table = f"held_{other['username']}"
    with login(scenario.url(endpoint)) as session:
        session.execute(
            f'CREATE TABLE {table} (); GRANT SELECT ON {table} TO "{other["username"]}"'.encode()
        )
    with scenario.platform.client() as api:
        path = f"/api/databases/{other['id']}"
        assert api.delete(path).is_success
        try:
            eventually(lambda: api.get(path).status_code == 404)
        except AssertionError:
            return THROUGH
    with login(scenario.url(endpoint)) as session:
        session.execute(f"DROP TABLE {table}".encode())
    return NOTHING


def _sockets(scenario: Scenario, _: str) -> str:
    """Another user of the machine, at the sockets that believe the platform's own."""
    if os.geteuid() != 0:
        return NOTHING  # only root can become somebody else
    nobody = pwd.getpwnam("nobody")
    run = scenario.platform.home / "run"
    for socket_dir, port, user in (
        (run / "control", 5432, "tenantry_admin"),
        (run / "shared-1", scenario.platform.pg_port, "tenantry_admin"),
        (run / "pooler", scenario.platform.pool_port, "pgbouncer"),
    ):
        done = subprocess.run(
            ["psql", "-w", f"--host={socket_dir}", f"--port={port}", f"--username={user}", "-l"],
            user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], cwd="/",
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if "Permission denied" not in done.stderr:
            return THROUGH
    return NOTHING


def _secrets_on_disk(scenario: Scenario, _: str) -> str:
    """Files that hold keys or passwords, and whom else the machine lets read them."""
    home = scenario.platform.home
    named = (home / "admin.key", home / "seal.key", home / "tls" / "server.pem")
    secret = [*named, *(home / "tls").glob("*.key")]
    open_to_others = [path for path in secret if path.stat().st_mode & 0o077]
    data: list[Path] = [path / "data" for path in (home / "clusters").iterdir()]
    open_to_others += [path for path in data if path.stat().st_mode & 0o077]
    owners = {pwd.getpwuid(path.stat().st_uid).pw_name for path in secret + data}
    assert owners == {SERVICE_USER} or os.geteuid() != 0
    return THROUGH if open_to_others else NOTHING


_IN_THE_SAME = Lift(
    ('GRANT CONNECT ON DATABASE "{foreign}" TO "{role}"',),
    ('REVOKE CONNECT ON DATABASE "{foreign}" FROM "{role}"',),
    rule='hostssl all "{role}" 0.0.0.0/0 scram-sha-256',
)
_LOUD = Lift(
    ("ALTER ROLE ALL RESET log_min_messages",), ("ALTER ROLE ALL SET log_min_messages = fatal",)
)
_SILENT = "`ALTER ROLE ALL SET log_min_messages = fatal`"

CROSSINGS: tuple[Attempt, ...] = (
    Attempt("notify", "`NOTIFY` a channel that the neighbour listens to", _SAME, _notify,
        NOTHING, _IN_THE_SAME),
    Attempt("advisory-lock", "meet a neighbour's advisory lock", _SAME, _advisory, NOTHING,
        _IN_THE_SAME),
    Attempt("invite", "`GRANT ALL ON DATABASE \"{database}\" TO PUBLIC`, a trap for a neighbour",
        "who may use a database is its owner's to grant", _invite, NOTHING,
        Lift(owning("{database}").take,
             ('REVOKE ALL ON DATABASE "{database}" FROM PUBLIC', *owning("{database}").give_back))),
    Attempt("index-expression",
        "a function in an index, on a table given to `tenantry_admin`, for a superuser's `ANALYZE`",
        "maintenance runs as the table's owner, and giving it away takes membership",
        _index_expression, NOTHING, grant("tenantry_admin")),
    Attempt("password-in-log", "misspelt commands with a password in them",
        f"{_SILENT}; `log_min_error_statement = panic`; `log_statement = none`",
        _password_in_log, NOTHING, _LOUD),
    Attempt("words-in-log", "`RAISE LOG`, `debug_print_parse`",
        _SILENT, _words_in_log, NOTHING, _LOUD),
    Attempt("hold-up-a-deletion", "`GRANT SELECT ON t TO` a role, which is not dropped then",
        "a role that cannot be dropped stays behind closed, and its deletion goes on",
        _hold_up_a_deletion, NOTHING, None, endpoints=(DIRECT,)),
    Attempt("sockets", "another user of the machine at the sockets of clusters and pooler",
        "`unix_socket_permissions = 0700`, `unix_socket_mode = 0700`, folders of mode 0700",
        _sockets, NOTHING, None, endpoints=(DIRECT,)),
    Attempt("secrets-on-disk", "another user of the machine at keys and data folders",
        "mode 0600 and 0700, of the platform's own user", _secrets_on_disk, NOTHING, None,
        endpoints=(DIRECT,)),
)  # fmt: skip
