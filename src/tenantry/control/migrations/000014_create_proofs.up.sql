-- What became of restoring a database somewhere, to see that it can be. The id is that of the
-- operation; 'compared' is what was looked at.
CREATE TABLE proofs (
    id uuid PRIMARY KEY,
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    moment timestamptz,
    seconds double precision NOT NULL,
    passed boolean NOT NULL,
    compared jsonb NOT NULL DEFAULT '{}',
    error text,
    CHECK (passed = (error IS NULL))
);
CREATE INDEX proofs_newest_first ON proofs (database_id, at DESC, id DESC);
GRANT SELECT, INSERT, DELETE ON proofs TO tenantry_platform;
GRANT SELECT ON proofs TO tenantry_customer;
ALTER TABLE proofs ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON proofs TO tenantry_platform USING (true);
CREATE POLICY own ON proofs TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
