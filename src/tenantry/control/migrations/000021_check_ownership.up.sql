-- What was found in tenants' databases, by their names on the cluster, that is not their tenants'.
CREATE TABLE ownership_checks (
    cluster_id uuid NOT NULL REFERENCES clusters ON DELETE CASCADE,
    database_name text NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    found jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (cluster_id, database_name)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON ownership_checks TO tenantry_platform;
ALTER TABLE ownership_checks ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON ownership_checks TO tenantry_platform USING (true);
