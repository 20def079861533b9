"""Each hole, made by itself in a database that is well kept, is found by its own finding."""

from dataclasses import dataclass

import psycopg
import pytest
from rls_servers import APP, Servers
from schemas import with_hole

from tenantry_rls.check import check
from tenantry_rls.report import BY_ATTEMPT

OWN = (
    "(customer_id = (SELECT nullif(current_setting('app.current_customer_id', true), '')::bigint))"
)


@dataclass(frozen=True)
class Hole:
    """How it is made, and the findings that it and nothing else leads to.

    ``crossed``: whether it is seen to be one by trying as well; None where that depends.
    """

    kind: str
    subject: str
    statements: tuple[str, ...]
    crossed: bool = False
    besides: frozenset[str] = frozenset()  # other findings that it cannot be without


def hole(
    kind: str, subject: str, *statements: str, crossed: bool = False, besides: tuple[str, ...] = ()
) -> Hole:
    return Hole(kind, subject, statements, crossed, frozenset(besides))


SECURE = "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; ALTER TABLE {0} FORCE ROW LEVEL SECURITY;"

HOLES = {
    "row-level security is off": hole(
        "rls-off", "public.sites", "ALTER TABLE sites DISABLE ROW LEVEL SECURITY", crossed=True
    ),
    "it is not forced": hole(
        "rls-not-forced", "public.sites", "ALTER TABLE sites NO FORCE ROW LEVEL SECURITY"
    ),
    "a policy is missing": hole(
        "policy-missing",
        "public.sites",
        "DROP POLICY tenant_delete ON sites",
        "DROP POLICY tenant_administrator ON sites",
    ),
    "a policy on SELECT only": hole(
        "policy-missing",
        "public.sites",
        *(
            f"DROP POLICY tenant_{each} ON sites"
            for each in ("insert", "update", "delete", "administrator")
        ),
    ),
    "only restrictive policies": hole(
        "policy-missing",
        "public.cost_records",
        *(
            f"DROP POLICY tenant_{each} ON cost_records"
            for each in ("select", "insert", "update", "delete", "administrator")
        ),
        f"CREATE POLICY own ON cost_records AS RESTRICTIVE USING {OWN}",
        besides=("not-tried",),
    ),
    "USING (true)": hole(
        "policy-open",
        "public.sites",
        "CREATE POLICY everybody ON sites FOR SELECT USING (true)",
        crossed=True,
    ),
    "WITH CHECK (true)": hole(
        "policy-open",
        "public.sites",
        f"CREATE POLICY own ON sites FOR UPDATE USING {OWN} WITH CHECK (true)",
        crossed=True,
    ),
    "INSERT WITH CHECK (true)": hole(
        "policy-open",
        "public.sites",
        "CREATE POLICY anybodys ON sites FOR INSERT WITH CHECK (true)",
        crossed=True,
    ),
    "an open policy of a role it may become": hole(
        "policy-open",
        "public.sites",
        "CREATE ROLE auditor NOLOGIN",
        f"ALTER ROLE {APP} NOINHERIT",
        f"GRANT auditor TO {APP}",
        "CREATE POLICY audit ON sites FOR SELECT TO auditor USING (true)",
    ),
    "OR the setting IS NULL": hole(
        "crossed",
        "public.sites",
        "CREATE POLICY careless ON sites FOR SELECT USING"
        f" ({OWN} OR current_setting('app.current_customer_id', true) IS NULL)",
        crossed=True,
    ),
    "OR the setting is empty": hole(
        "crossed",
        "public.sites",
        f"CREATE POLICY careless ON sites FOR SELECT USING ({OWN}"
        " OR coalesce(current_setting('app.current_customer_id', true), '') = '')",
        crossed=True,
    ),
    "a customer is let past by a role": hole(
        "crossed",
        "public.sites",
        "CREATE POLICY careless ON sites USING"
        " (current_setting('app.current_user_role', true) = 'customer')",
        crossed=True,
    ),
    "rows of nobody, which everybody may make": hole(
        "crossed",
        "public.sites",
        "ALTER TABLE sites ALTER customer_id DROP NOT NULL",
        "CREATE POLICY nobodys ON sites USING (customer_id IS NULL AND coalesce("
        "current_setting('app.current_customer_id', true), '') <> '')",
        crossed=True,
        besides=("column-nullable",),
    ),
    "a view with its owner's rights": hole(
        "view-of-the-owner",
        "public.site_names",
        "ALTER VIEW site_names RESET (security_invoker)",
    ),
    "a superuser's view": hole(
        "view-of-the-owner",
        "public.all_names",
        "CREATE VIEW all_names AS SELECT domain FROM sites",
        f"GRANT SELECT ON all_names TO {APP}",
        crossed=True,
    ),
    "a view on a view that is not its reader's": hole(
        "view-of-the-owner",
        "public.names_again",
        "CREATE VIEW all_names AS SELECT domain FROM sites",
        "CREATE VIEW names_again AS SELECT domain FROM all_names",
        f"GRANT SELECT ON names_again TO {APP}",
        crossed=True,
    ),
    "a materialized view": hole(
        "materialized-view",
        "public.site_copy",
        "CREATE MATERIALIZED VIEW site_copy AS SELECT * FROM sites",
        f"GRANT SELECT ON site_copy TO {APP}",
    ),
    "a SECURITY DEFINER function": hole(
        "function-of-the-owner",
        "public.all_sites()",
        "CREATE FUNCTION all_sites() RETURNS SETOF sites LANGUAGE sql SECURITY DEFINER"
        " AS 'SELECT * FROM sites'",
        crossed=True,
    ),
    "a SECURITY DEFINER procedure": hole(
        "function-of-the-owner",
        "public.forget()",
        "CREATE PROCEDURE forget() LANGUAGE plpgsql SECURITY DEFINER"
        " AS 'BEGIN DELETE FROM public.sites; END'",
    ),
    "a SECURITY DEFINER trigger that nobody may call": hole(
        "function-of-the-owner",
        "public.spread()",
        "CREATE FUNCTION spread() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " AS 'BEGIN UPDATE public.sites SET domain = domain; RETURN NEW; END'",
        "REVOKE EXECUTE ON FUNCTION spread() FROM PUBLIC",
        "CREATE TRIGGER spread AFTER INSERT ON deployments FOR EACH ROW"
        " WHEN (NEW.output = 'spread') EXECUTE FUNCTION spread()",
    ),
    "a LEAKPROOF function": hole(
        "function-leakproof",
        "public.told(text)",
        "CREATE FUNCTION told(text) RETURNS boolean LANGUAGE plpgsql LEAKPROOF COST 0.0001"
        " AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$",
    ),
    "a function that a policy asks, and the application owns": hole(
        "policy-function-replaceable",
        "public.mine(bigint)",
        "CREATE FUNCTION mine(bigint) RETURNS boolean LANGUAGE sql STABLE"
        f" AS $$ SELECT {OWN.replace('customer_id =', '$1 =')} $$",
        f"ALTER FUNCTION mine(bigint) OWNER TO {APP}",
        "CREATE POLICY asks ON sites USING (mine(customer_id))",
    ),
    "a rule": hole(
        "rule-of-the-owner",
        "public.inbox",
        "CREATE TABLE inbox (word text)",
        "CREATE RULE over AS ON INSERT TO inbox DO ALSO UPDATE sites SET domain = NEW.word",
        f"GRANT INSERT ON inbox TO {APP}",
    ),
    "a foreign key that leaves the customer out": hole(
        "foreign-key-crosses",
        "public.cost_records",
        "ALTER TABLE cost_records ADD FOREIGN KEY (site_id) REFERENCES sites (id)",
    ),
    "a foreign key that deletes across": hole(
        "foreign-key-crosses",
        "public.cost_records",
        "ALTER TABLE cost_records ADD FOREIGN KEY (site_id) REFERENCES sites (id)"
        " ON DELETE CASCADE",
    ),
    "TRUNCATE": hole("truncate-granted", "public.sites", f"GRANT TRUNCATE ON sites TO {APP}"),
    "BYPASSRLS": hole("role-bypasses", APP, f"ALTER ROLE {APP} BYPASSRLS"),
    "a superuser": hole("role-bypasses", APP, f"ALTER ROLE {APP} SUPERUSER"),
    "a member of a role with BYPASSRLS": hole(
        "role-may-bypass", APP, "CREATE ROLE strong BYPASSRLS", f"GRANT strong TO {APP}"
    ),
    "a member of a role with BYPASSRLS, by way of another": hole(
        "role-may-bypass",
        APP,
        "CREATE ROLE strong BYPASSRLS",
        "CREATE ROLE between NOINHERIT ROLE rls_app IN ROLE strong",
    ),
    "a role that reads the server's files": hole(
        "role-may-bypass", APP, f"GRANT pg_read_server_files TO {APP}"
    ),
    "a context that the role has": hole(
        "default-context", APP, f"ALTER ROLE {APP} SET app.current_user_role = 'administrator'"
    ),
    "a context that everybody has": hole(
        "default-context", "all roles", "ALTER ROLE ALL SET app.current_customer_id = '1'"
    ),
    "a context that is left over": hole(
        "context-left-over", "", "SELECT set_config('app.current_customer_id', '1', false)"
    ),
    "a context for the session": hole(
        "context-for-the-session",
        "public.become(text)",
        "CREATE FUNCTION become(text) RETURNS text LANGUAGE sql"
        " AS $$ SELECT set_config('app.current_customer_id', $1, false) $$",
    ),
    "SET instead of SET LOCAL": hole(
        "context-for-the-session",
        "public.become()",
        "CREATE FUNCTION become() RETURNS void LANGUAGE plpgsql"
        " AS $$ BEGIN SET app.current_user_role = 'administrator'; END $$",
    ),
    "a function in a context of its own": hole(
        "function-in-a-context",
        "public.of_one()",
        "CREATE FUNCTION of_one() RETURNS SETOF text LANGUAGE sql"
        " SET app.current_customer_id = '1' AS 'SELECT domain FROM sites'",
    ),
    "a foreign table": hole(
        "foreign-table",
        "public.far",
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw",
        "CREATE FOREIGN TABLE far (customer_id bigint NOT NULL) SERVER elsewhere",
        besides=("index-missing",),
    ),
    "a partition that is reached directly": hole(
        "rls-off",
        "public.events_all",
        "CREATE TABLE events (customer_id bigint NOT NULL, at date) PARTITION BY RANGE (at)",
        "CREATE INDEX ON events (customer_id)",
        "CREATE TABLE events_all PARTITION OF events DEFAULT",
        SECURE.format("events"),
        f"CREATE POLICY own ON events USING {OWN}",
        f"GRANT SELECT ON events, events_all TO {APP}",
        crossed=True,
    ),
    "a child that inherits the columns, and not the policies": hole(
        "rls-off",
        "public.old_sites",
        "CREATE TABLE old_sites (PRIMARY KEY (customer_id, id)) INHERITS (sites)",
        f"GRANT SELECT ON old_sites TO {APP}",
        crossed=True,
    ),
    "the customer's id by another name": hole(
        "rls-off",
        "public.notes",
        "CREATE TABLE notes (whose bigint NOT NULL, site_id uuid NOT NULL, word text,"
        " FOREIGN KEY (whose, site_id) REFERENCES sites (customer_id, id))",
        "CREATE INDEX ON notes (whose)",
        f"GRANT SELECT ON notes TO {APP}",
        crossed=True,
    ),
    "a table that hangs on a customer's": hole(
        "rls-off",
        "public.notes",
        "CREATE TABLE notes (site_id uuid PRIMARY KEY REFERENCES sites, word text)",
        f"GRANT SELECT ON notes TO {APP}",
        crossed=True,
    ),
    "no table of customers": hole(
        "no-tenant-table", "", "DROP TABLE sites, cost_records, deployments CASCADE"
    ),
}

WARNINGS = {
    "a customer's id may be missing": hole(
        "column-nullable", "public.sites", "ALTER TABLE sites ALTER customer_id DROP NOT NULL"
    ),
    "no index": hole(
        "index-missing", "public.cost_records", "DROP INDEX cost_records_customer_id_idx"
    ),
    "a unique value tells": hole(
        "unique-tells", "public.sites", "CREATE UNIQUE INDEX ON sites (domain)"
    ),
    "an exclusion tells": hole(
        "unique-tells",
        "public.deployments",
        "ALTER TABLE deployments ADD EXCLUDE USING btree (output WITH =)",
    ),
    "the application owns a table": hole(
        "role-owns", "public.deployments", f"ALTER TABLE deployments OWNER TO {APP}"
    ),
    "a constant customer by default": hole(
        "column-default", "public.sites", "ALTER TABLE sites ALTER customer_id SET DEFAULT 1"
    ),
    "another setting's customer by default": hole(
        "column-default",
        "public.sites",
        "ALTER TABLE sites ALTER customer_id SET DEFAULT current_setting('app.customer')::bigint",
    ),
    "it hangs on a customer's table if it likes": hole(
        "hangs-unsecured",
        "public.notes",
        "CREATE TABLE notes (site_id uuid REFERENCES sites, word text)",
        f"GRANT SELECT ON notes TO {APP}",
    ),
    "granted to everybody": hole(
        "granted-to-everybody", "public.sites", "GRANT SELECT ON sites TO PUBLIC"
    ),
    "a second reference of a table without a customer": hole(
        "foreign-key-crosses",
        "public.deployments",
        "ALTER TABLE deployments ADD cost_id bigint REFERENCES cost_records ON DELETE CASCADE",
    ),
}


@pytest.mark.parametrize("name", HOLES)
def test_each_hole_is_found(servers: Servers, kept: str, name: str) -> None:
    made = HOLES[name]
    report = with_hole(servers, kept, *made.statements)
    found = {(each.kind, each.subject) for each in report.errors}
    assert (made.kind, made.subject or kept) in found
    # Nothing else is said: it is found by its own finding, or by having been gone through.
    by_rule = {each.kind for each in report.findings} - set(BY_ATTEMPT)
    assert by_rule - made.besides == {made.kind} - {"crossed"}
    assert bool(report.count("crossed")) == made.crossed
    assert not report.passes()


@pytest.mark.parametrize("name", WARNINGS)
def test_what_may_become_a_hole_is_reported(servers: Servers, kept: str, name: str) -> None:
    made = WARNINGS[name]
    report = with_hole(servers, kept, *made.statements)
    assert {(each.kind, each.subject) for each in report.findings} == {(made.kind, made.subject)}
    assert report.passes()
    assert not report.passes(strict=True)


FINE = {
    "a view on a view with its reader's rights": [
        "CREATE VIEW names_again AS SELECT domain FROM site_list",
        f"GRANT SELECT ON names_again TO {APP}",
    ],
    "defaults of one's own": [
        "ALTER TABLE sites ALTER customer_id"
        " SET DEFAULT nullif(current_setting('app.current_customer_id', true), '')::bigint"
    ],
    "a policy of a function that is nobody's to replace": [
        "CREATE FUNCTION mine(bigint) RETURNS boolean LANGUAGE sql STABLE"
        f" AS $$ SELECT {OWN.replace('customer_id =', '$1 =')} $$",
        "CREATE POLICY asks ON sites USING (mine(customer_id))",
    ],
    "a trigger that keeps the time": [
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN NEW.created_at := now(); RETURN NEW; END'",
        "CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON sites FOR EACH ROW"
        " EXECUTE FUNCTION stamp()",
    ],
    "a trigger that fills in the customer": [
        "ALTER TABLE cost_records ALTER site_id DROP NOT NULL",
        "CREATE FUNCTION whose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.customer_id :="
        " coalesce(NEW.customer_id, nullif(current_setting('app.current_customer_id', true), '')"
        "::bigint); RETURN NEW; END $$",
        "CREATE TRIGGER whose BEFORE INSERT ON cost_records FOR EACH ROW EXECUTE FUNCTION whose()",
    ],
    "a table of no customer's": [
        "CREATE TABLE countries (code text PRIMARY KEY)",
        f"GRANT ALL ON countries TO {APP}",
    ],
    "a secured table that hangs on a customer's if it likes": [
        "CREATE TABLE notes (site_id uuid REFERENCES sites, word text)",
        SECURE.format("notes"),
        "CREATE POLICY own ON notes USING (site_id IN (SELECT id FROM sites))",
        f"GRANT SELECT ON notes TO {APP}",
    ],
    "a rule on what is nobody's": [
        "CREATE TABLE inbox (word text)",
        "CREATE TABLE outbox (word text)",
        "CREATE RULE over AS ON INSERT TO inbox DO ALSO INSERT INTO outbox VALUES (NEW.word)",
        f"GRANT INSERT ON inbox TO {APP}",
    ],
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_no_hole_is_not_called_one(servers: Servers, kept: str, name: str) -> None:
    assert with_hole(servers, kept, *FINE[name]).findings == ()


FIXED = [
    "row-level security is off",
    "it is not forced",
    "USING (true)",
    "a view with its owner's rights",
    "TRUNCATE",
    "a member of a role with BYPASSRLS",
    "a SECURITY DEFINER function",
    "a LEAKPROOF function",
    "a function in a context of its own",
    "a foreign key that deletes across",
    "a rule",
    "a customer's id may be missing",
    "no index",
    "granted to everybody",
]


@pytest.mark.parametrize("name", FIXED)
def test_the_sql_that_fixes_it_does(servers: Servers, kept: str, name: str) -> None:
    made = (HOLES | WARNINGS)[name]
    with psycopg.connect(servers.dsn(kept)) as conn, conn.transaction(force_rollback=True):
        for statement in made.statements:
            conn.execute(statement.encode())
        [fix] = {each.fix for each in check(conn, role=APP).findings if each.kind == made.kind}
        conn.execute(fix.encode())
        assert made.kind not in {each.kind for each in check(conn, role=APP).findings}
