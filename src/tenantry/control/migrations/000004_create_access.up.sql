-- Who may do what, what was answered, and what was done.
CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    prefix text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    customer_id uuid REFERENCES customers,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_keys_newest_first ON api_keys (created_at DESC, id DESC);

-- An answer to repeat. Where it showed a secret there is a mark; the secret itself is
-- derived again from what only the caller holds, and from this salt.
CREATE TABLE idempotency_keys (
    api_key_id uuid NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    salt bytea NOT NULL,
    status integer NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (api_key_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE audit_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor_kind text NOT NULL CHECK (actor_kind IN ('api_key', 'platform', 'anonymous')),
    actor_id uuid,
    actor_name text NOT NULL,
    customer_id uuid,
    action text NOT NULL,
    resource_kind text NOT NULL,
    resource_id text,
    resource_name text,
    address inet,
    result text NOT NULL CHECK (result IN ('ok', 'refused', 'failed')),
    request_id text,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_logs_of_resource ON audit_logs (resource_id, id DESC);
CREATE INDEX audit_logs_of_action ON audit_logs (action, id DESC);
CREATE INDEX audit_logs_by_time ON audit_logs (at);

-- The control plane's role: everything it needs, and no way to change what is in the audit.
GRANT USAGE ON SCHEMA public TO tenantry_platform;
GRANT SELECT, INSERT, UPDATE, DELETE ON customers, clusters, databases, password_rotations,
    ip_whitelist, database_stats, operations, api_keys, idempotency_keys TO tenantry_platform;
GRANT SELECT, INSERT ON audit_logs TO tenantry_platform;
