-- What PostgreSQL logs of the statements in a database, for its owner.
ALTER TABLE databases
    ADD COLUMN log_statements text NOT NULL DEFAULT 'none'
        CHECK (log_statements IN ('none', 'ddl', 'mod', 'all')),
    ADD COLUMN log_min_duration_ms integer CHECK (log_min_duration_ms BETWEEN 0 AND 3600000),
    ADD COLUMN log_errors boolean NOT NULL DEFAULT false;
CREATE INDEX databases_logged ON databases (database_name)
    WHERE log_statements <> 'none' OR log_min_duration_ms IS NOT NULL OR log_errors;
