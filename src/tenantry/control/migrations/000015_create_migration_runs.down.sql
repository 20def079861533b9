DROP TABLE migration_targets, migration_runs;
