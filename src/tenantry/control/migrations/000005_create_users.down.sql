-- What people did stays in the audit, so its check takes new rows only.
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_actor_kind_check;
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_actor_kind_check
    CHECK (actor_kind IN ('api_key', 'platform', 'anonymous')) NOT VALID;
DELETE FROM idempotency_keys;
ALTER TABLE idempotency_keys RENAME caller_id TO api_key_id;
ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_api_key_id_fkey
    FOREIGN KEY (api_key_id) REFERENCES api_keys ON DELETE CASCADE;
ALTER TABLE api_keys DROP created_by;
DROP TABLE failed_logins;
DROP TABLE login_challenges;
DROP TABLE sessions;
DROP TABLE recovery_codes;
DROP TABLE users;
