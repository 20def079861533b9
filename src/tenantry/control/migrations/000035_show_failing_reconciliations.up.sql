-- Why a database is not as it should be although reconciliation tried. A table of its own: whoever
-- works on a database holds its row, maybe for hours.
CREATE TABLE failing_reconciliations (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    detail text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON failing_reconciliations TO tenantry_platform;
ALTER TABLE failing_reconciliations ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON failing_reconciliations TO tenantry_platform USING (true);
CREATE POLICY own ON failing_reconciliations TO tenantry_customer
    USING (EXISTS (SELECT FROM databases d WHERE d.id = database_id));
GRANT SELECT ON failing_reconciliations TO tenantry_customer;
