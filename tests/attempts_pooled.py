"""The attempts of one pooled client to find what another client left in the server's session."""

import psycopg

from attempts import NOTHING, POOLED, THROUGH, Attempt, Lift, Scenario
from clients import login

_RESET = "`DISCARD ALL` after each transaction (`server_reset_query_always`)"
_TIMES = 5  # the pooler may have more than one connection to a server, and give the other one
# Whatever a session without a reset still holds must not outlast the test.
_LIFT = Lift(
    give_back=(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{role}'",
    ),
    pooler_setting=("server_reset_query_always", "0"),
)


def _left(
    name: str, leave: str, look: str, *, held_by: str = _RESET, lift: Lift | None = _LIFT
) -> Attempt:
    """One client does ``leave``; the next one gets through if ``look`` is true."""

    def tries(scenario: Scenario, endpoint: str) -> str:
        for _ in range(_TIMES):
            with login(scenario.url(endpoint)) as first:
                first.execute(leave.format(**scenario.words).encode())
            with login(scenario.url(endpoint)) as second:
                row = second.execute(look.format(**scenario.words).encode()).fetchone()
            if row and row[0]:
                return THROUGH
        return NOTHING

    shown = f"`{leave}`; the next client: `{look}`"
    return Attempt(name, shown, held_by, tries, NOTHING, lift, endpoints=(POOLED,))


def _lock(scenario: Scenario, endpoint: str) -> str:
    """A session-level lock that outlives the client that took it."""
    with login(scenario.url(endpoint)) as first:
        first.execute("SELECT pg_advisory_lock(4712)")
    with login(scenario.tenant["connection_string"]) as second:
        row = second.execute("SELECT pg_try_advisory_lock(4712)").fetchone()
    return NOTHING if row == (True,) else THROUGH


def _rows_of_another_customer(scenario: Scenario, endpoint: str) -> str:
    """Row security by a setting: a client without a context sees the rows of the one before."""
    with login(scenario.tenant["connection_string"]) as owner:
        owner.execute(
            """
            DROP TABLE IF EXISTS private;
            CREATE TABLE private (customer text);
            ALTER TABLE private ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
            CREATE POLICY own ON private USING (customer = current_setting('app.customer', true));
            SET app.customer = 'ann';
            INSERT INTO private VALUES ('ann')
            """
        )
    with login(scenario.url(endpoint)) as first:
        first.execute("SET app.customer = 'ann'")
    with login(scenario.url(endpoint)) as second:
        return THROUGH if second.execute("SELECT FROM private").rowcount else NOTHING


def _last_value(scenario: Scenario, endpoint: str) -> str:
    with login(scenario.url(endpoint)) as first:
        first.execute("CREATE SEQUENCE IF NOT EXISTS left_over_seq")
        first.execute("SELECT nextval('left_over_seq')")
    with login(scenario.url(endpoint)) as second:
        try:
            second.execute("SELECT lastval()")
        except psycopg.errors.ObjectNotInPrerequisiteState:
            return NOTHING
    return THROUGH


POOLED_CLIENTS: tuple[Attempt, ...] = (
    _left("left-setting", "SET app.customer = 'ann'",
        "SELECT current_setting('app.customer', true) = 'ann'"),
    Attempt("left-row-context",
        "`SET app.customer = 'ann'`; the next client reads a table whose policy compares with it",
        _RESET, _rows_of_another_customer, NOTHING, _LIFT, endpoints=(POOLED,)),
    _left("left-search-path", "SET search_path = pg_temp",
        "SELECT current_setting('search_path') = 'pg_temp'"),
    _left("left-isolation",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT current_setting('default_transaction_isolation') = 'serializable'"),
    _left("left-read-only", "SET default_transaction_read_only = on",
        "SELECT current_setting('default_transaction_read_only') = 'on'",
        held_by="it follows its own client (`track_extra_parameters`), and `DISCARD ALL`",
        lift=None),
    _left("left-role", 'SET ROLE "{role}"', "SELECT current_setting('role') <> 'none'"),
    _left("left-temporary-table", "CREATE TEMPORARY TABLE IF NOT EXISTS left_over ()",
        "SELECT to_regclass('pg_temp.left_over') IS NOT NULL"),
    Attempt("left-advisory-lock",
        "`SELECT pg_advisory_lock(4712)`; the next client: `SELECT pg_try_advisory_lock(4712)`",
        _RESET, _lock, NOTHING, _LIFT, endpoints=(POOLED,)),
    _left("left-listen", "LISTEN left_over", "SELECT count(*) > 0 FROM pg_listening_channels()"),
    _left("left-prepared", "DEALLOCATE ALL; PREPARE left_over AS SELECT 1",
        "SELECT count(*) > 0 FROM pg_prepared_statements WHERE from_sql"),
    _left("left-cursor", "CLOSE ALL; DECLARE left_over CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) > 0 FROM pg_cursors WHERE is_holdable"),
    Attempt("left-sequence",
        "`SELECT nextval('left_over_seq')`; the next client: `SELECT lastval()`",
        _RESET, _last_value, NOTHING, _LIFT, endpoints=(POOLED,)),
)  # fmt: skip
