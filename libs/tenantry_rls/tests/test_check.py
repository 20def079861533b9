"""The check passes on a database that is well kept, and finds each hole that is made in it."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import psycopg
import pytest
from rls_servers import APP, OWNER, Servers, runner
from schemas import with_hole

from tenantry_rls import cli
from tenantry_rls.check import CannotCheck, check
from tenantry_rls.report import Finding, Report, as_junit, as_text
from tenantry_rls.tables import POLICIES


def checked(servers: Servers, name: str, *, user: str = "postgres", role: str = APP) -> Report:
    with psycopg.connect(servers.dsn(name, user=user)) as conn:
        return check(conn, role=role)


def test_a_well_kept_database_passes(servers: Servers, kept: str) -> None:
    report = checked(servers, kept)
    assert report.findings == ()
    assert report.passes(strict=True)
    assert report.count("not tried") == 0
    assert {"public.sites", "public.customers", "public.deployments"} <= set(report.subjects)
    assert report.count("refused") >= 4 * 7


def test_nothing_of_a_check_stays(servers: Servers, kept: str) -> None:
    checked(servers, kept)
    counted = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM sites)"
    assert runner(servers.dsn(kept))(counted) == [(0,)]


PUBLIC_ROWS = (
    "ALTER TABLE sites ALTER customer_id DROP NOT NULL",
    "INSERT INTO sites (domain, settings, created_at) VALUES ('public', '{}', now())",
)


def test_what_is_nobodys_may_be_read_by_everybody(servers: Servers, kept: str) -> None:
    report = with_hole(
        servers,
        kept,
        *PUBLIC_ROWS,
        "CREATE POLICY everybody ON sites FOR SELECT USING (customer_id IS NULL)",
    )
    assert {finding.kind for finding in report.findings} == {"column-nullable"}
    assert report.passes()


@pytest.mark.parametrize(
    "policy",
    [
        "FOR UPDATE USING (customer_id IS NULL)",
        "FOR SELECT USING (customer_id IS NULL OR domain <> '')",
    ],
)
def test_and_no_more_than_that(servers: Servers, kept: str, policy: str) -> None:
    report = with_hole(servers, kept, *PUBLIC_ROWS, f"CREATE POLICY everybody ON sites {policy}")
    assert "policy-open" in {finding.kind for finding in report.errors}


def test_rows_may_refer_to_what_is_there_already(servers: Servers, kept: str) -> None:
    """Such as currencies, whose codes nobody could make up."""
    report = with_hole(
        servers,
        kept,
        "CREATE TABLE currencies (code char(3) PRIMARY KEY CHECK (code ~ '^[A-Z]{3}$'))",
        "INSERT INTO currencies VALUES ('EUR')",
        "ALTER TABLE cost_records ADD currency char(3) NOT NULL REFERENCES currencies",
    )
    assert report.findings == ()
    assert report.count("not tried") == 0


def test_rows_that_several_columns_decide_on_are_made_up(servers: Servers, kept: str) -> None:
    report = with_hole(
        servers,
        kept,
        "CREATE TABLE payments (customer_id bigint NOT NULL REFERENCES customers, token bytea"
        " NOT NULL UNIQUE, due date NOT NULL UNIQUE, port int NOT NULL UNIQUE CHECK (port BETWEEN"
        " 1 AND 65535), kind text NOT NULL CHECK (kind IN ('in',"
        " 'out')), state text NOT NULL CHECK (state IN ('new', 'open', 'paid')),"
        " CHECK (kind = 'out' AND state = 'paid'))",
        "CREATE INDEX ON payments (customer_id)",
        f"GRANT ALL ON payments TO {APP}",
        f"REVOKE TRUNCATE ON payments FROM {APP}",
    )
    assert ("public.payments", "SELECT of another's") in {
        (each.subject, each.action) for each in report.attempts if each.outcome == "crossed"
    }
    assert report.count("not tried") == 0


# What the catalog's text does not give away is found by trying.
CROSSINGS = {
    "SELECT of another's": "FOR SELECT USING (current_setting('app.current_user_role') <> '')",
    "SELECT without a context": "FOR SELECT USING"
    " (coalesce(current_setting('app.current_customer_id', true), '') = '')",
    "COPY of another's": "FOR SELECT USING (now() > 'yesterday')",
    "UPDATE of another's": "FOR ALL USING (now() > 'yesterday')",
    "UPDATE giving one's own away": "FOR ALL USING (now() > 'yesterday')",
    "UPDATE without a condition": "FOR UPDATE USING (now() > 'yesterday')",
    "UPDATE without a condition, giving one's own away": "FOR UPDATE USING (false)"
    " WITH CHECK (now() > 'yesterday')",
    "DELETE without a condition": "FOR DELETE USING (now() > 'yesterday')",
    "INSERT for another": "FOR INSERT WITH CHECK (now() > 'yesterday')",
    "DELETE of another's": "FOR ALL USING (now() > 'yesterday')",
}


@pytest.mark.parametrize(
    ("table", "action"),
    [
        (table, action)
        for table in ("sites", "deployments", "customers")
        for action in CROSSINGS
        # An id that is always generated cannot be given away.
        if not (table == "customers" and "own away" in action)
    ],
)
def test_each_crossing_is_done(servers: Servers, kept: str, table: str, action: str) -> None:
    report = with_hole(servers, kept, f"CREATE POLICY careless ON {table} {CROSSINGS[action]}")
    crossed = {(each.subject, each.action) for each in report.attempts if each.outcome == "crossed"}
    assert (f"public.{table}", action) in crossed
    assert "crossed" in {finding.kind for finding in report.errors}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("table", ["sites", "cost_records", "deployments", "customers"])
def test_without_any_one_policy_it_fails(
    servers: Servers, kept: str, table: str, policy: str
) -> None:
    drop = f"DROP POLICY {policy} ON {table}"
    others = f"DROP POLICY IF EXISTS tenant_administrator ON {table}"
    report = with_hole(servers, kept, drop, others)
    assert ("policy-missing", f"public.{table}") in {(f.kind, f.subject) for f in report.errors}


def test_a_right_on_one_column_is_tried_on_that(servers: Servers, kept: str) -> None:
    report = with_hole(
        servers,
        kept,
        f"REVOKE UPDATE ON sites FROM {APP}",
        f"GRANT UPDATE (domain) ON sites TO {APP}",
        "CREATE POLICY careless ON sites USING (now() > 'yesterday')",
    )
    crossed = {
        each.action
        for each in report.attempts
        if each.subject == "public.sites" and each.outcome == "crossed"
    }
    assert {"UPDATE of another's", "UPDATE without a condition"} <= crossed


def crossing(report: Report, subject: str) -> bool:
    return any(each.subject == subject and each.outcome == "crossed" for each in report.attempts)


@pytest.mark.parametrize(
    "view",
    [
        "CREATE VIEW leak AS SELECT * FROM sites",
        "CREATE VIEW leak AS SELECT domain FROM sites",
        "CREATE VIEW leak AS SELECT count(*) FROM sites",
        "CREATE VIEW leak AS SELECT max(created_at), string_agg(domain, ',') FROM site_list_",
    ],
)
def test_a_superusers_view_shows_others_whatever_it_shows(
    servers: Servers, kept: str, view: str
) -> None:
    report = with_hole(
        servers,
        kept,
        "CREATE VIEW site_list_ AS SELECT * FROM sites",
        view,
        f"GRANT ALL ON leak TO {APP}",
    )
    assert crossing(report, "public.leak")


def test_a_functions_result_is_looked_at(servers: Servers, kept: str) -> None:
    report = with_hole(
        servers,
        kept,
        "CREATE FUNCTION how_many() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
        " AS 'SELECT count(*) FROM sites'",
        "CREATE FUNCTION of_one(bigint) RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER"
        " AS $$ BEGIN RETURN QUERY EXECUTE 'SELECT domain::text FROM public.si' || 'tes"
        " WHERE customer_id = $1' USING $1; END $$",
    )
    assert crossing(report, "public.how_many()")
    assert crossing(report, "public.of_one(bigint)")


def test_a_function_that_has_nothing_to_do_with_customers_is_left_alone(
    servers: Servers, kept: str
) -> None:
    report = with_hole(
        servers,
        kept,
        "CREATE FUNCTION ours() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT $$1$$'",
    )
    assert report.findings == ()


def test_the_application_itself_may_check(servers: Servers, kept: str) -> None:
    """It cannot make users, so that is told; what the catalog says holds all the same."""
    report = checked(servers, kept, user=APP)
    assert report.passes()
    assert {finding.kind for finding in report.findings} == {"not-tried"}
    runner(servers.dsn(kept))(f"GRANT SELECT, INSERT ON users TO {APP}")
    try:
        report = checked(servers, kept, user=APP)
        assert report.passes(strict=True)
        assert report.count("refused") >= 4 * 7
    finally:
        runner(servers.dsn(kept))(f"REVOKE ALL ON users FROM {APP}")


def test_it_works_where_the_provider_hides_settings(servers: Servers, kept: str) -> None:
    here = runner(servers.dsn(kept))
    here("REVOKE SELECT ON pg_db_role_setting FROM PUBLIC")
    try:
        assert checked(servers, kept, user=APP).passes()
    finally:
        here("GRANT SELECT ON pg_db_role_setting TO PUBLIC")


@pytest.mark.parametrize("whose", ["DATABASE {0}", "ROLE rls_app IN DATABASE {0}"])
def test_a_context_that_a_database_presets_is_found(
    servers: Servers, kept: str, whose: str
) -> None:
    preset = f"ALTER {whose.format(kept)} SET app.current_customer_id = '1'"
    report = with_hole(servers, kept, preset)
    [found] = report.errors
    assert found.kind == "default-context"
    assert found.fix.startswith("ALTER ")
    assert kept in found.fix


def test_what_a_careless_client_left_to_the_next_one_is_found(servers: Servers, kept: str) -> None:
    with psycopg.connect(servers.pooled(kept), autocommit=True) as careless:
        careless.execute("SET app.current_customer_id = '1'")
        try:
            with psycopg.connect(servers.pooled(kept)) as next_one:
                report = check(next_one)
        finally:
            careless.execute("DISCARD ALL")
    assert {each.kind for each in report.errors} == {"context-left-over"}


def test_what_is_known_and_meant_can_be_allowed(servers: Servers, kept: str) -> None:
    with psycopg.connect(servers.dsn(kept)) as conn, conn.transaction(force_rollback=True):
        conn.execute("CREATE VIEW everybodys AS SELECT DISTINCT domain FROM sites")
        conn.execute(f"GRANT SELECT ON everybodys TO {APP}".encode())
        found = {(each.kind, each.subject) for each in check(conn, role=APP).errors}
        meant = {(kind, "public.everybodys") for kind in ("view-of-the-owner", "crossed")}
        assert found == meant
        report = check(conn, role=APP, allow={":".join(each) for each in meant})
    assert report.passes(strict=True)
    assert {(each.kind, each.subject) for each in report.allowed} == meant
    assert "2 allowed" in as_text(report)


def test_it_works_through_the_pooler(servers: Servers, kept: str) -> None:
    with psycopg.connect(servers.pooled(kept)) as conn:
        assert check(conn).passes()


def test_a_role_that_cannot_be_become_or_is_not_there(servers: Servers, kept: str) -> None:
    with pytest.raises(CannotCheck, match="may not become"):
        checked(servers, kept, user=OWNER)
    with pytest.raises(CannotCheck, match="no role nobody_at_all"):
        checked(servers, kept, role="nobody_at_all")


# ── the command ──────────────────────────────────────────────────────────────────


def test_the_command_and_its_exit_codes(
    servers: Servers, kept: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    here = servers.dsn(kept)
    assert cli.run(["check", here, "--role", APP, "--strict"]) == 0
    assert "Isolated." in capsys.readouterr().out
    runner(here)("CREATE POLICY open ON sites FOR SELECT USING (true)")
    try:
        assert cli.run(["check", here, "--role", APP, "--format", "json"]) == 1
        reported = json.loads(capsys.readouterr().out)
        assert not reported["isolated"]
        assert {finding["kind"] for finding in reported["findings"]} == {"policy-open", "crossed"}
        assert cli.run(["check", here, "--role", APP]) == 1
        text = capsys.readouterr().out
        assert "NOT isolated." in text
        assert "DROP POLICY" in text
        file = tmp_path / "report.xml"
        assert (
            cli.run(["check", here, "--role", APP, "--format", "junit", "--output", str(file)]) == 1
        )
        suites = {suite.get("name"): suite for suite in ET.parse(file).getroot()}  # noqa: S314 (ours)
        assert suites["rules"].get("failures") == "1"
        assert int(suites["attempts"].get("failures") or 0) >= 2
        assert suites["attempts"].get("tests") == str(len(suites["attempts"]))
    finally:
        runner(here)("DROP POLICY open ON sites")
    with pytest.raises(SystemExit) as wrong:
        cli.run(["check", here, "--format", "pdf"])
    assert wrong.value.code == 2
    assert cli.run(["check", servers.dsn("nowhere_at_all")]) == 3
    assert cli.run(["check", here, "--role", "nobody_at_all"]) == 1


def test_it_is_a_program_too(servers: Servers, kept: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tenantry_rls", "check", servers.dsn(kept), "--role", APP],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_does_not_act_on_the_terminal() -> None:
    bad = Finding("rls-off", "public.\x1b[2Jx\0", "what", "why", "mend")
    report = Report("shop", "app", ("public.\x1b[2Jx\0",), (bad,), ())
    assert "\x1b" not in as_text(report)
    assert ET.fromstring(as_junit(report)) is not None  # noqa: S314 (ours)
