-- Named moments of a database, such as deployments, to find the second before something went wrong.
CREATE TABLE marks (
    id uuid PRIMARY KEY,
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    label text NOT NULL CHECK (length(label) BETWEEN 1 AND 200),
    at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX marks_of_database ON marks (database_id, at DESC, id DESC);
GRANT SELECT, INSERT, UPDATE, DELETE ON marks TO tenantry_platform, tenantry_customer;
ALTER TABLE marks ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON marks TO tenantry_platform USING (true);
CREATE POLICY own ON marks TO tenantry_customer
    USING (EXISTS (SELECT FROM databases d WHERE d.id = database_id));
