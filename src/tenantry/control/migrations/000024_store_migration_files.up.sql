-- A row for each file of a run: as one value, a folder of 64 MiB would be in memory several times
-- over, here and in who writes it.
CREATE TABLE migration_files (
    operation_id uuid NOT NULL REFERENCES migration_runs ON DELETE CASCADE,
    name text NOT NULL,
    sql text NOT NULL,
    PRIMARY KEY (operation_id, name)
);
GRANT SELECT, INSERT, DELETE ON migration_files TO tenantry_platform;

ALTER TABLE migration_files ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON migration_files TO tenantry_platform USING (true);
CREATE POLICY own ON migration_files TO tenantry_customer
    USING (operation_id IN (SELECT id FROM operations));
GRANT SELECT, INSERT ON migration_files TO tenantry_customer;

INSERT INTO migration_files (operation_id, name, sql)
    SELECT operation_id, file.key, file.value
    FROM migration_runs, jsonb_each_text(files) file;
ALTER TABLE migration_runs DROP COLUMN files;
