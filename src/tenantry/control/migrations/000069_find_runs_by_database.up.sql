-- The operations of a database are also the runs over many that migrated it.
CREATE INDEX migration_targets_database ON migration_targets (database_id);
