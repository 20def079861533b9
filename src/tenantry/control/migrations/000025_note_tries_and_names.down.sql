ALTER TABLE operations DROP COLUMN resource_name;

DELETE FROM ownership_checks WHERE checked_at IS NULL;
ALTER TABLE ownership_checks
    ALTER COLUMN checked_at SET DEFAULT clock_timestamp(),
    ALTER COLUMN checked_at SET NOT NULL,
    DROP COLUMN tried_at;
