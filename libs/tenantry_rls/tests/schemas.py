"""A database of two tables of customers, their registry and a table below them, well kept."""

from psycopg import Connection
from rls_servers import APP, OWNER, Servers, runner

from tenantry_rls import tables
from tenantry_rls.check import check
from tenantry_rls.report import Report

CREATE = (
    "CREATE TYPE tier AS ENUM ('standard', 'premium')",
    "CREATE TABLE users (id bigserial PRIMARY KEY, email varchar(80) NOT NULL UNIQUE)",
    "CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " owner_user_id bigint NOT NULL REFERENCES users, name text NOT NULL,"
    " tier tier NOT NULL, status varchar(20) NOT NULL CHECK (status IN ('active', 'closed')))",
    "CREATE TABLE sites (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
    " customer_id bigint NOT NULL REFERENCES customers, domain varchar(40) NOT NULL,"
    " settings jsonb NOT NULL, created_at timestamptz NOT NULL,"
    " UNIQUE (customer_id, id), UNIQUE (customer_id, domain))",
    "CREATE TABLE cost_records (id bigserial PRIMARY KEY, customer_id bigint NOT NULL,"
    " site_id uuid NOT NULL, cost_date date NOT NULL, amount numeric(12, 2) NOT NULL"
    " CHECK (amount < 100), UNIQUE (site_id, cost_date),"
    " FOREIGN KEY (customer_id, site_id) REFERENCES sites (customer_id, id))",
    "CREATE TABLE deployments (id bigserial PRIMARY KEY,"
    " site_id uuid NOT NULL REFERENCES sites, output text)",
    "CREATE VIEW site_names WITH (security_invoker = true) AS SELECT domain FROM sites",
    "CREATE VIEW site_list WITH (security_invoker = true) AS SELECT * FROM sites",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APP}",
    f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APP}",
    f"REVOKE ALL ON users FROM {APP}",
)


def create(servers: Servers, name: str) -> None:
    """Have it in the database ``name``, with the toolkit's own policies."""
    runner(servers.dsn(name, user=OWNER))(*CREATE)
    with Connection.connect(servers.dsn(name, user=OWNER)) as conn:
        tables.enable(conn, "customers", column="id")
        tables.enable(conn, "sites")
        tables.enable(conn, "cost_records")
        tables.enable(conn, "deployments", through="site_id")


def with_hole(servers: Servers, name: str, *statements: str, role: str = APP) -> Report:
    """The report on the database with a hole that is there for this once."""
    with Connection.connect(servers.dsn(name)) as conn, conn.transaction(force_rollback=True):
        for statement in statements:
            conn.execute(statement.encode())
        report = check(conn, role=role)
    assert all(found.what and found.why and found.fix for found in report.findings)
    return report
