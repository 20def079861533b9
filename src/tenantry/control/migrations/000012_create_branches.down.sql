DROP TABLE maskings;
DROP TABLE branch_passwords;
DROP INDEX databases_of_customer;
CREATE INDEX databases_of_customer ON databases (customer_id, created_at DESC, id DESC)
    WHERE status IN ('active', 'deleting');
DROP INDEX databases_newest_first;
CREATE INDEX databases_newest_first ON databases (created_at DESC, id DESC)
    WHERE status IN ('active', 'deleting');
DROP INDEX databases_name_is_unique;
CREATE UNIQUE INDEX databases_name_is_unique ON databases (customer_id, environment, name)
    NULLS NOT DISTINCT WHERE name IS NOT NULL AND status = 'active';
ALTER TABLE databases
    DROP COLUMN expires_at, DROP COLUMN branched_at, DROP COLUMN parent_id,
    DROP CONSTRAINT databases_status_check,
    ADD CONSTRAINT databases_status_check
        CHECK (status IN ('creating', 'warm', 'active', 'deleting'));
