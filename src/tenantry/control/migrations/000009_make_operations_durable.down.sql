DROP INDEX operations_newest_first;
DROP INDEX operations_one_at_a_time;
ALTER TABLE operations
    DROP COLUMN actor, DROP COLUMN params, DROP COLUMN state, DROP COLUMN exclusive,
    DROP COLUMN attempts, DROP COLUMN due_at, DROP COLUMN holder, DROP COLUMN lease_until,
    DROP COLUMN cancel_requested, DROP COLUMN undoing, DROP COLUMN step_started_at,
    DROP COLUMN done_bytes, DROP COLUMN total_bytes;
