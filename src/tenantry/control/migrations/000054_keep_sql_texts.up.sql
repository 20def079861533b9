-- SQL that users, or API keys, have saved by a name, and, without one, what they have run in the console. A
-- text may have data in it, and so is sealed with the installation's key.
CREATE TABLE sql_texts (
    id uuid PRIMARY KEY,
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    owner_id uuid NOT NULL,
    name text CHECK (length(name) BETWEEN 1 AND 100),
    text bytea NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX ON sql_texts (database_id, owner_id, name) WHERE name IS NOT NULL;
CREATE INDEX ON sql_texts (database_id, owner_id, used_at);
CREATE INDEX ON sql_texts (owner_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON sql_texts TO tenantry_platform, tenantry_customer;
ALTER TABLE sql_texts ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON sql_texts TO tenantry_platform USING (true);
CREATE POLICY own ON sql_texts TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
