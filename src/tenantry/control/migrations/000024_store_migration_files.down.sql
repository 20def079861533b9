ALTER TABLE migration_runs ADD COLUMN files jsonb NOT NULL DEFAULT '{}';
UPDATE migration_runs r SET files = kept.files
    FROM (SELECT operation_id, jsonb_object_agg(name, sql) AS files
          FROM migration_files GROUP BY operation_id) kept
    WHERE kept.operation_id = r.operation_id;
ALTER TABLE migration_runs ALTER COLUMN files DROP DEFAULT;
GRANT UPDATE (files) ON migration_runs TO tenantry_platform;
DROP TABLE migration_files;
