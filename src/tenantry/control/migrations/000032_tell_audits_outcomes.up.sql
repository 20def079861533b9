-- What was only promised is told apart from what was done, and a database by its owner's name for it.
ALTER TABLE audit_logs ADD COLUMN resource_title text;
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_result_check;
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_result_check
    CHECK (result IN ('ok', 'accepted', 'refused', 'failed'));
