-- What a restore in place has replaced, and keeps for a while: nobody may connect to it. The row
-- is written when it has happened; what PostgreSQL has and no row knows is told of, never dropped.
CREATE TABLE replaced_databases (
    id uuid PRIMARY KEY,
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    database_name text NOT NULL,
    operation_id uuid NOT NULL UNIQUE,
    replaced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX replaced_databases_of_database ON replaced_databases (database_id, replaced_at DESC);
CREATE INDEX replaced_databases_by_expiry ON replaced_databases (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON replaced_databases TO tenantry_platform;

ALTER TABLE replaced_databases ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON replaced_databases TO tenantry_platform USING (true);
CREATE POLICY own ON replaced_databases TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT ON replaced_databases TO tenantry_customer;
