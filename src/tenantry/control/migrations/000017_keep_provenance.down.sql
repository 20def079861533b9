ALTER TABLE failed_logins DROP account;

REVOKE UPDATE (revoked_at) ON api_keys FROM tenantry_customer;
GRANT UPDATE ON api_keys TO tenantry_customer;
DROP POLICY granted ON api_keys;

ALTER TABLE api_keys DROP CONSTRAINT api_keys_one_grantor;
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()), created_by = NULL
    WHERE created_by NOT IN (SELECT id FROM users);
ALTER TABLE api_keys ADD CONSTRAINT api_keys_created_by_fkey
    FOREIGN KEY (created_by) REFERENCES users ON DELETE SET NULL;
ALTER TABLE api_keys DROP parent_id;
