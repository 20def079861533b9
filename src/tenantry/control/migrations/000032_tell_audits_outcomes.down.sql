-- As it was told before.
UPDATE audit_logs SET result = 'ok' WHERE result = 'accepted';
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_result_check;
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_result_check
    CHECK (result IN ('ok', 'refused', 'failed'));
ALTER TABLE audit_logs DROP COLUMN resource_title;
