-- Databases at a past moment, each in the side cluster of the operation that has the same id. A row
-- is a place among those that are possible at once; it has an expiry when it can be read.
CREATE TABLE past_sessions (
    id uuid PRIMARY KEY,
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    moment timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz
);
CREATE INDEX past_sessions_of_database ON past_sessions (database_id, created_at DESC);
GRANT SELECT, INSERT, UPDATE, DELETE ON past_sessions TO tenantry_platform, tenantry_customer;
ALTER TABLE past_sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON past_sessions TO tenantry_platform USING (true);
CREATE POLICY own ON past_sessions TO tenantry_customer
    USING (EXISTS (SELECT FROM databases d WHERE d.id = database_id));
