-- Which blueprint a database has, and at which version it was when the platform last brought it
-- there. 'files' are those of a folder of one's own; of Tenantry's own the program has them.
CREATE TABLE database_blueprints (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    name text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    files jsonb,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX database_blueprints_by_name ON database_blueprints (name);
GRANT SELECT, INSERT, UPDATE, DELETE ON database_blueprints TO tenantry_platform;

ALTER TABLE database_blueprints ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON database_blueprints TO tenantry_platform USING (true);
CREATE POLICY own ON database_blueprints TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT ON database_blueprints TO tenantry_customer;

-- A 'scratch' database is made for one comparison. Its row is held meanwhile, and never seen.
ALTER TABLE databases
    DROP CONSTRAINT databases_status_check,
    ADD CONSTRAINT databases_status_check CHECK
        (status IN ('creating', 'warm', 'scratch', 'branching', 'active', 'deleting')),
    DROP CONSTRAINT databases_check,
    ADD CONSTRAINT databases_check CHECK
        (status IN ('creating', 'warm', 'scratch') OR friendly_name IS NOT NULL);
