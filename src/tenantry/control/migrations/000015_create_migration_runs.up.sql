-- What an operation that migrates databases is to run. Beside 'operations', whose lists are
-- read often and shall stay small.
CREATE TABLE migration_runs (
    operation_id uuid PRIMARY KEY REFERENCES operations ON DELETE CASCADE,
    files jsonb NOT NULL
);
GRANT SELECT, INSERT ON migration_runs TO tenantry_platform;

ALTER TABLE migration_runs ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON migration_runs TO tenantry_platform USING (true);
CREATE POLICY own ON migration_runs TO tenantry_customer
    USING (operation_id IN (SELECT id FROM operations));
GRANT SELECT, INSERT ON migration_runs TO tenantry_customer;

-- The databases of a run over many, and what came of it in each. They may be gone since then.
CREATE TABLE migration_targets (
    operation_id uuid NOT NULL REFERENCES migration_runs ON DELETE CASCADE,
    position integer NOT NULL,
    database_id uuid NOT NULL,
    database_name text NOT NULL,
    name text,
    environment text NOT NULL,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'skipped')),
    version bigint,
    dirty boolean,
    steps integer,
    error jsonb,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (operation_id, position)
);
GRANT SELECT, INSERT, UPDATE ON migration_targets TO tenantry_platform;

ALTER TABLE migration_targets ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON migration_targets TO tenantry_platform USING (true);
CREATE POLICY own ON migration_targets TO tenantry_customer
    USING (operation_id IN (SELECT id FROM operations));
GRANT SELECT, INSERT ON migration_targets TO tenantry_customer;
