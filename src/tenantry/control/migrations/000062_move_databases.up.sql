-- A retained database stays on the cluster on which it was replaced; after a move, its database is
-- on another one.
ALTER TABLE replaced_databases ADD COLUMN cluster_id uuid REFERENCES clusters ON DELETE CASCADE;
UPDATE replaced_databases r SET cluster_id = d.cluster_id FROM databases d WHERE d.id = r.database_id;
ALTER TABLE replaced_databases ALTER COLUMN cluster_id SET NOT NULL;

-- Moves of databases to another cluster: where the backups of a past moment are, how fast data was
-- moved, and for which databases the pooler has to have a line.
CREATE TABLE database_moves (
    operation_id uuid PRIMARY KEY,
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    source text NOT NULL,
    target text NOT NULL,
    bytes bigint NOT NULL,
    seconds double precision NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX database_moves_of_database ON database_moves (database_id, moved_at);
GRANT SELECT, INSERT ON database_moves TO tenantry_platform;

ALTER TABLE database_moves ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON database_moves TO tenantry_platform USING (true);
CREATE POLICY own ON database_moves TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT ON database_moves TO tenantry_customer;
