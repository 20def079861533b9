-- A key is as good as the chain of its grantors is at the moment of use: the key or the user that
-- created it, whatever created that, up to a user or to the platform itself (neither column set).
-- Keys are never deleted, and no key gets another parent, so there are no cycles.
ALTER TABLE api_keys ADD parent_id uuid REFERENCES api_keys;

-- The id of a deleted user stays: a key that lost it would look like one of the platform's own.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_created_by_fkey;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_one_grantor
    CHECK (parent_id IS NULL OR created_by IS NULL);

-- Keys that keys created before: the audit knows by which.
UPDATE api_keys k SET parent_id = a.actor_id
FROM audit_logs a
WHERE a.action = 'api_key.create' AND a.result = 'ok' AND a.actor_kind = 'api_key'
  AND a.resource_id = k.id::text AND k.created_by IS NULL AND a.actor_id <> k.id
  AND EXISTS (SELECT FROM api_keys p WHERE p.id = a.actor_id);

-- In a customer's transaction no key is created without a grantor, and of one that exists only
-- its end can be written: neither scopes nor expiry nor grantor.
CREATE POLICY granted ON api_keys AS RESTRICTIVE FOR INSERT TO tenantry_customer
    WITH CHECK (parent_id IS NOT NULL OR created_by IS NOT NULL);
REVOKE UPDATE ON api_keys FROM tenantry_customer;
GRANT UPDATE (revoked_at) ON api_keys TO tenantry_customer;

-- Failed logins are counted by more than the account now; whose they are is kept beside.
ALTER TABLE failed_logins ADD account text;
CREATE INDEX failed_logins_of_account ON failed_logins (account);
DELETE FROM failed_logins WHERE subject LIKE 'account:%';
