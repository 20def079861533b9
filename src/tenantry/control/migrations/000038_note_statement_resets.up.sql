-- pg_stat_statements knows only when all of it was reset, and how many entries it has evicted since.
CREATE TABLE statement_resets (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    reset_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    counted_since timestamptz NOT NULL,
    evictions bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON statement_resets TO tenantry_platform;
ALTER TABLE statement_resets ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON statement_resets TO tenantry_platform USING (true);
CREATE POLICY own ON statement_resets TO tenantry_customer
    USING (EXISTS (SELECT FROM databases d WHERE d.id = database_id));
GRANT SELECT ON statement_resets TO tenantry_customer;
