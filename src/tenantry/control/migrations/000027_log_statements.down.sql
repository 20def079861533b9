ALTER TABLE databases
    DROP COLUMN log_statements, DROP COLUMN log_min_duration_ms, DROP COLUMN log_errors;
