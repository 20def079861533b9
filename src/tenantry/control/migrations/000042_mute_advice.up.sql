-- Findings about a database that its owner does not want to be reported again.
CREATE TABLE advice_mutes (
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    code text NOT NULL CHECK (length(code) <= 50),
    object text NOT NULL CHECK (length(object) <= 300),
    muted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (database_id, code, object)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON advice_mutes TO tenantry_platform, tenantry_customer;
ALTER TABLE advice_mutes ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON advice_mutes TO tenantry_platform USING (true);
CREATE POLICY own ON advice_mutes TO tenantry_customer
    USING (EXISTS (SELECT FROM databases d WHERE d.id = database_id));
