"""What a tenant plants in its database is run by nobody but that tenant's own identities.

Everything that can carry code stands in everything that the platform reads: whoever runs it leaves
a trace. And the server's log has every statement that was sent to a tenant's database, and as whom:
each must be one that has been reviewed.
"""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pglast
import pytest

from answers import data, problem
from clients import VISITORS, ask, do, eventually, login
from harness import Installation
from imported import ended
from tenantry.pg.api_roles import SHARED
from tenantry.pg.names import arrival_roles

Row = dict[str, Any]

pytestmark = pytest.mark.takes_minutes

ASKED = "TABLE public.planted"  # by a caller of the API
REVIEWED = Path(__file__).with_name("reviewed_statements.txt")

# Unlogged, so that what a load adds to it is no difference between a copy and its original.
TRACES = """
    CREATE UNLOGGED TABLE traces (place text, session_role text, member_of text[]);
    GRANT USAGE ON SCHEMA public TO PUBLIC;
    GRANT INSERT ON traces TO PUBLIC;
    CREATE FUNCTION public.trace(place text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.traces SELECT place, session_user, array_agg(r.rolname::text)
            FROM pg_catalog.pg_roles r
            WHERE pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
              AND r.rolname <> session_user;
        RETURN 1;
        EXCEPTION WHEN undefined_table THEN RETURN 1; END $$;  -- while a load makes it
    CREATE FUNCTION public.trace_quietly(place text) RETURNS int LANGUAGE plpgsql IMMUTABLE
        AS $$ BEGIN RETURN public.trace(place); END $$;
"""
# Each place in which a tenant can have code run by whoever reads, writes or loads its tables.
PLANTED = """
    CREATE FUNCTION public.trigger_trace() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM public.trace('trigger'); RETURN NEW; END $$;
    CREATE DOMAIN public.checked AS int CHECK (public.trace_quietly('domain') = 1);
    CREATE TABLE planted (
        id int PRIMARY KEY,
        d public.checked,
        by_default int DEFAULT public.trace('default'),
        generated int GENERATED ALWAYS AS (public.trace_quietly('generated')) STORED,
        CHECK (public.trace_quietly('check') = 1));
    CREATE INDEX ON planted (public.trace_quietly('index'));
    CREATE TRIGGER planted AFTER INSERT OR UPDATE ON planted
        FOR EACH ROW EXECUTE FUNCTION public.trigger_trace();
    CREATE RULE planted AS ON UPDATE TO planted DO ALSO SELECT public.trace('rule');
    ALTER TABLE planted ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY planted ON planted USING (public.trace_quietly('policy') = 1);
    CREATE MATERIALIZED VIEW planted_view AS SELECT public.trace('materialized view') AS one;
    CREATE FUNCTION public.same(oid, oid) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN PERFORM public.trace('operator'); RETURN true; END $$;
    CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.same);
    CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql
        AS $$ BEGIN PERFORM public.trace('function'); RETURN ''; END $$;
    INSERT INTO planted (id, d) VALUES (1, 1), (2, 2);
    TRUNCATE traces;
"""
# A table whose rows are lost and brought back.
LOST = """
    CREATE TABLE lost (
        id int PRIMARY KEY,
        d public.checked,
        by_default int DEFAULT public.trace('default'),
        generated int GENERATED ALWAYS AS (public.trace_quietly('generated')) STORED,
        CHECK (public.trace_quietly('check') = 1));
    CREATE TRIGGER lost AFTER INSERT OR UPDATE ON lost
        FOR EACH ROW EXECUTE FUNCTION public.trigger_trace();
    INSERT INTO lost (id, d) VALUES (1, 1), (2, 2), (3, 3);
"""
# The tables that the platform itself reads, as something else.
LEDGERS = {
    "cast": """
        CREATE TYPE ver AS (v bigint);
        CREATE FUNCTION ver_big(ver) RETURNS bigint LANGUAGE plpgsql
            AS $$ BEGIN PERFORM public.trace('cast'); RETURN 1; END $$;
        CREATE CAST (ver AS bigint) WITH FUNCTION ver_big(ver);
        CREATE TABLE schema_migrations (version ver, dirty boolean);
        INSERT INTO schema_migrations VALUES (row(1)::ver, false)""",
    "domain": """
        CREATE DOMAIN ver AS bigint CHECK (public.trace_quietly('domain') = 1);
        CREATE TABLE schema_migrations (version ver, dirty boolean);
        INSERT INTO schema_migrations VALUES (1, false)""",
    "view": """
        CREATE VIEW schema_migrations AS
            SELECT public.trace('view')::bigint AS version, false AS dirty""",
    "policy": """
        CREATE TABLE schema_migrations (version bigint, dirty boolean);
        INSERT INTO schema_migrations VALUES (1, false);
        ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON schema_migrations USING (public.trace('policy') = 1)""",
    "journal": """
        CREATE TABLE schema_migrations (version bigint, dirty boolean);
        CREATE DOMAIN word AS text CHECK (public.trace_quietly('domain') = 1);
        CREATE TABLE tenantry_migrations (
            version bigint, file word, sha256 text, applied_at timestamptz)""",
}
GONE = "DROP TABLE IF EXISTS tenantry_migrations; DROP {} IF EXISTS schema_migrations CASCADE"

# Statements of the tenant's own, which the platform is asked to run.
MIGRATION = "CREATE TABLE migrated (i int); INSERT INTO planted (id, d) VALUES (3, 3)"
MASKING = "UPDATE public.planted SET d = 7"
HOSTILE = """
    CREATE TABLE t (i int);
    DO $$ BEGIN EXECUTE '{}'; END $$;
    SELECT 1/0;
"""
SCRIPT = TRACES + PLANTED.replace("TRUNCATE traces;", "")


@dataclass
class Scenario:
    platform: Installation
    api: httpx.Client
    tenant: Row

    def over(self, answer: httpx.Response) -> Row:
        """The result of an operation."""
        operation = data(answer, 202)
        done = ended(self.api, operation.get("operation", operation), seconds=240)
        assert done["status"] == "succeeded", done["error"]["detail"]
        result: Row = done["result"]
        return result

    def path(self, what: str, database: Row | None = None) -> str:
        return f"/api/databases/{(database or self.tenant)['id']}/{what}"

    def look_at_insights(self) -> None:
        self._look_at_locks()
        data(self.api.get(self.path("tables")))
        found = {each["code"] for each in data(self.api.get(self.path("advice")))}
        assert "no_primary_key" in found
        data(self.api.get(self.path("queries")))
        for read_only in (True, False):
            asked = {"sql": "TABLE public.planted", "analyze": True, "read_only": read_only}
            answer = self.api.post(self.path("explain"), json=asked)
            assert answer.status_code == (422 if read_only else 200), answer.text  # the policy's
            answer = self.api.post(self.path("sql"), json={"sql": ASKED, "read_only": read_only})
            assert answer.status_code == (422 if read_only else 200), answer.text
        data(self.api.get(self.path("sql/names")))
        row = {"id": 100, "d": 1}
        changes = [{"action": "insert", "values": row}, {"action": "delete", "key": {"id": 100}}]
        data(self.api.post(self.path("rows"), json={"table": "planted", "changes": changes}))
        copy, of_csv = self.path("rows/csv?table=planted"), {"Content-Type": "text/csv"}
        problem(self.api.get(copy), 422)  # the policy writes
        problem(self.api.post(copy, content=b"id\n100\n", headers=of_csv), 422)  # not with policies

    def extend(self) -> None:
        """Install an extension, and remove it."""
        data(self.api.get(self.path("extensions")))
        data(self.api.post(self.path("extensions"), json={"name": "citext"}), 201)
        data(self.api.delete(self.path("extensions/citext")))

    def maintain(self) -> None:
        """Vacuum, analyze, rebuild and index what has planted code, in extended statistics too."""
        tables, url = ["public.planted"], self.tenant["connection_string"]
        do(url, "CREATE STATISTICS more ON (public.trace_quietly('statistics')), id FROM planted")
        self.over(self.api.post(self.path("vacuum"), json={"tables": tables, "analyze": True}))
        self.over(self.api.post(self.path("analyze"), json={"tables": tables}))
        self.over(self.api.post(self.path("reindex"), json={"tables": tables}))
        asked = {"table": "public.planted", "columns": ["id"], "name": "planted_more"}
        self.over(self.api.post(self.path("indexes"), json=asked))
        do(url, "DROP STATISTICS more; DROP INDEX planted_more")

    def lose_rows(self, url: str) -> None:
        """Lose rows and bring them back: some of a comparison, and all of the table."""
        do(url, LOST)
        moment = str(ask(url, "SELECT to_json(clock_timestamp())"))
        do(url, "DELETE FROM lost WHERE id = 1; UPDATE lost SET d = 7 WHERE id = 2")
        opened = self.over(self.api.post(self.path("past"), json={"to": moment}))
        past = self.path(f"past/{opened['past_id']}")
        data(self.api.get(f"{past}/tables"))
        data(self.api.post(f"{past}/sql", json={"sql": "TABLE lost"}))
        made = data(self.api.post(f"{past}/comparisons", json={"table": "lost"}), 201)
        data(self.api.get(f"{past}/comparisons/{made['id']}/rows"))
        done = data(self.api.post(f"{past}/comparisons/{made['id']}/bring-back", json={}))
        assert (done["inserted"], done["updated"]) == (1, 1)
        data(self.api.delete(past))
        for into in ("rows", "new"):
            asked = {"to": moment, "tables": ["lost"], "as": into}
            self.over(self.api.post(self.path("restore"), json=asked))

    def _look_at_locks(self) -> None:
        """Ask for the locks while a session waits for a table."""
        url = self.tenant["connection_string"]
        with login(url) as first, login(url) as second:
            first.execute("BEGIN; LOCK TABLE planted")
            waiting = threading.Thread(target=second.execute, args=["TABLE planted"])
            waiting.start()
            eventually(
                lambda: (
                    [
                        each["lock"]["relation"]
                        for each in data(self.api.get(self.path("locks")))
                        if each["lock"]
                    ]
                    == ["public.planted"]
                )
            )
            first.execute("ROLLBACK")
            waiting.join(60)

    def traces(self, database_name: str) -> set[tuple[str, str, frozenset[str]]]:
        """Who ran what in a database: place, session's role, and what that was a member of."""
        with self.platform.superuser(dbname=database_name) as inside:
            found = inside.execute("SELECT place, session_role, member_of FROM public.traces")
            return {(place, who, frozenset(of or ())) for place, who, of in found.fetchall()}


@pytest.fixture(scope="module")
def scenario() -> Iterator[Scenario]:
    """An installation with backups, whose server logs every statement."""
    installation = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "0"})
    try:
        installation.up()
        log_every_statement(installation)
        with installation.client() as api:
            tenant = installation.create(name="planted", ownerEmail="p@example.org")
            do(tenant["connection_string"], TRACES)
            yield Scenario(installation, api, tenant)
    finally:
        installation.remove()


def log_every_statement(platform: Installation) -> None:
    custom = platform.home / "clusters" / "shared-1" / "data" / "custom.conf"
    custom.write_text(
        "fsync = off\nlog_statement = all\n"
        "log_destination = stderr\nlog_line_prefix = '%%> %u|%d|%a| '\n"
    )
    custom.chmod(0o644)
    with platform.superuser() as server:
        server.execute("ALTER ROLE ALL SET log_min_messages = log")
        server.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("name", LEDGERS)
def test_a_ledger_that_is_none_is_not_read(scenario: Scenario, name: str) -> None:
    url = scenario.tenant["connection_string"]
    do(url, LEDGERS[name])
    do(url, "TRUNCATE traces")
    answer = scenario.api.get(scenario.path("migrations"))
    assert problem(answer, 409)["code"] in {"conflict", "foreign_ledger"}
    assert scenario.traces(scenario.tenant["database_name"]) == set()
    do(url, GONE.format("VIEW" if name == "view" else "TABLE"))
    do(url, "DROP DOMAIN IF EXISTS word; DROP TYPE IF EXISTS ver CASCADE")


def test_whatever_is_done_runs_planted_code_as_that_tenant_alone(scenario: Scenario) -> None:
    api, tenant, platform = scenario.api, scenario.tenant, scenario.platform
    url = tenant["connection_string"]
    do(url, PLANTED)
    role = data(api.post(scenario.path("roles"), json={"name": "reads"}), 201)
    data(api.put(scenario.path("data-api"), json={"auth": {}}))
    scenario.extend()
    file = {"name": "000001_x.up.sql", "sql": MIGRATION}
    scenario.over(api.post(scenario.path("migrations"), json={"files": [file]}))
    data(api.get(scenario.path("migrations")))
    data(api.get(scenario.path("vacuum-full")))
    scenario.look_at_insights()
    scenario.maintain()
    scenario.over(api.post(scenario.path("vacuum-full"), json={"tables": ["public.planted"]}))
    data(api.post(scenario.path("rotate-password")))
    url = data(api.post(scenario.path("rotate-password")))["connection_string"]
    backup = scenario.over(api.post(scenario.path("backups"), json={}))["backup_id"]
    platform.back_up("shared-1")
    names = [tenant["database_name"]]

    data(api.put(scenario.path("masking"), json={"sql": MASKING}))
    branch = data(api.post(scenario.path("branches"), json={"name": "br", "masked": True}), 202)
    names.append(branch["database_name"])
    assert ended(api, branch["operation"], seconds=240)["status"] == "succeeded"
    for to, as_ in (("latest", "new"), (backup, "new"), ("latest", "in_place")):
        result = scenario.over(api.post(scenario.path("restore"), json={"to": to, "as": as_}))
        names.append(result["database_name"])
    scenario.over(api.post(scenario.path("drill")))
    scenario.lose_rows(url)
    target = platform.create(name="loaded", ownerEmail="p@example.org")
    answer = api.post(
        scenario.path("import", target),
        content=SCRIPT.encode(),
        headers={"Content-Type": "application/octet-stream"},
    )
    scenario.over(answer)
    names.append(target["database_name"])
    data(api.delete(scenario.path("data-api")))
    data(api.delete(scenario.path(f"roles/{role['id']}")))
    platform.reconcile()

    seen: set[str] = set()
    for name in names:
        own = {f"user_{name.removeprefix('tenant_')}", f"user_{tenant['database_name'][7:]}"}
        for place, who, members in scenario.traces(name):
            seen.add(place)
            assert who in own or who.startswith("tenantry_visitor_"), (name, place, who)
            others = {each for each in members if not any(each.startswith(one) for one in own)}
            arrivals = {each for one in own for each in arrival_roles(one)}
            assert others <= arrivals | SHARED.keys(), (name, place, who, members)
    assert {"check", "domain", "generated", "index", "statistics", "trigger"} <= seen
    assert ask(url, "SELECT count(*) FROM planted") == 3
    # Nothing that belongs to anybody else was left, and nobody who could come again.
    with platform.superuser() as server:
        assert server.execute(VISITORS).fetchall() == []
        standing = r"""
            SELECT r.rolname, d.datname FROM pg_roles r, pg_database d
            WHERE d.datname LIKE 'tenant\_%' AND NOT r.rolsuper AND r.rolname NOT LIKE 'user\_%'
              AND has_database_privilege(r.oid, d.oid, 'CONNECT')
            """
        memberships = r"""
            SELECT m.rolname, r.rolname FROM pg_auth_members a
                JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
            WHERE r.rolname LIKE 'user\_%'
              AND coalesce((to_jsonb(a) ->> 'inherit_option')::boolean, true)
            """
        # But for a visitor that just looks whose things are in a database.
        eventually(lambda: server.execute(standing).fetchall() == [])
        eventually(lambda: server.execute(memberships).fetchall() == [])
    ready = {part["name"]: part for part in platform.get("/ready").json()["parts"]}
    assert ready["ownership"]["state"] == "up", ready["ownership"]


def test_a_dump_that_changes_its_own_login_ends(scenario: Scenario) -> None:
    """Its settings keep that login out of every database, the one that it has to leave included."""
    for number, statement in enumerate(
        (
            "ALTER ROLE current_user SET local_preload_libraries = 'nothing_here'",
            "ALTER ROLE current_user PASSWORD 'another'",
            "ALTER ROLE current_user SET default_transaction_read_only = on",
        )
    ):
        target = scenario.platform.create(name=f"hostile-{number}", shadow=False)
        script = HOSTILE.format(statement.replace("'", "''"))
        answer = scenario.api.post(
            scenario.path("import", target),
            content=script.encode(),
            headers={"Content-Type": "application/octet-stream"},
        )
        assert ended(scenario.api, data(answer, 202))["status"] == "failed"
        assert scenario.api.delete(f"/api/databases/{target['id']}").status_code in {200, 202}


# ── the log ──────────────────────────────────────────────────────────────────

ENTRY = re.compile(r"^%> (\S+?)\|(\S+?)\|(.*?)\| LOG:  (?:statement|execute [^:]*): ", re.MULTILINE)
NEXT = re.compile(r"^%> ", re.MULTILINE)
PROGRAMS = {"pg_dump", "pg_restore", "pg_amcheck"}


def statements(platform: Installation) -> Iterator[tuple[str, str, str, str]]:
    """Role, database, program and text of each statement that the server's log has."""
    for log in sorted((platform.home / "logs").glob("shared-1-*.log")):
        text = log.read_text(errors="replace")
        for entry in ENTRY.finditer(text):
            end = NEXT.search(text, entry.end())
            said = text[entry.end() : end.start() if end else len(text)]
            role, database, program = entry.groups()
            yield role, database, program, said.replace("\n\t", "\n").strip()


def kind_of(role: str) -> str:
    return "visitor" if role.startswith("tenantry_visitor_") else role


def fingerprints(text: str) -> Iterator[tuple[str, str]]:
    """Each statement's fingerprint and how it begins; names and numbers do not count in it."""
    text = re.sub(r"restored_\w+", "restored_x", text)  # a schema's name, which does count
    for part in pglast.split(text):
        try:
            yield pglast.fingerprint(part), " ".join(part.split())[:90]
        except pglast.Error:
            yield "unreadable", " ".join(part.split())[:90]


def test_every_statement_in_a_tenants_database_is_a_reviewed_one(scenario: Scenario) -> None:
    texts = (MIGRATION, MASKING, SCRIPT, HOSTILE, ASKED)
    own = {found for text in texts for found, _ in fingerprints(text)}
    reviewed = {tuple(line.split()[:2]) for line in REVIEWED.read_text().splitlines() if line}
    sent: dict[tuple[str, str], str] = {}
    for role, database, program, text in statements(scenario.platform):
        if not database.startswith("tenant_") or not role.startswith("tenantry_"):
            continue
        if program in PROGRAMS:
            sent.setdefault((kind_of(role), program), "")
            continue
        for found, begins in fingerprints(text):
            if found not in own:
                sent.setdefault((kind_of(role), found), begins)
    assert len(sent) > 30
    unknown = sorted(f"{who} {what} {begins}" for (who, what), begins in sent.items()
                     if (who, what) not in reviewed)  # fmt: skip
    assert unknown == [], "\n".join(unknown)


def test_the_superuser_enters_only_what_no_tenant_has_used(scenario: Scenario) -> None:
    """It gives schema public away, in a database that has just been created."""
    entered = {
        text
        for role, database, _, text in statements(scenario.platform)
        if database.startswith("tenant_") and role == "tenantry_admin"
    }
    assert {re.sub(r'"user_\w+"', "x", text) for text in entered} <= {
        "ALTER SCHEMA public OWNER TO x",
        # This test's own look at the traces.
        "SELECT place, session_role, member_of FROM public.traces",
    }
