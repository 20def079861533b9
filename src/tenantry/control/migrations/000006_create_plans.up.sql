-- Limits: a database has its plan's, but for those that it has of its own (not null).
CREATE TABLE plans (
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'),
    max_connections integer NOT NULL CHECK (max_connections > 0),
    pool_size integer NOT NULL CHECK (pool_size > 0),
    disk_quota_bytes bigint NOT NULL CHECK (disk_quota_bytes > 0),
    temp_file_limit_bytes bigint NOT NULL CHECK (temp_file_limit_bytes > 0),
    statement_timeout_ms integer NOT NULL CHECK (statement_timeout_ms >= 0),
    lock_timeout_ms integer NOT NULL CHECK (lock_timeout_ms >= 0),
    idle_in_transaction_session_timeout_ms integer NOT NULL
        CHECK (idle_in_transaction_session_timeout_ms >= 0)
);

INSERT INTO plans VALUES
    ('hobby', 10, 5, 1073741824, 268435456, 300000, 60000, 120000),
    ('standard', 50, 25, 10737418240, 2147483648, 3600000, 300000, 600000),
    ('premium', 100, 25, 107374182400, 10737418240, 0, 300000, 3600000);

ALTER TABLE databases
    ADD COLUMN plan text NOT NULL DEFAULT 'standard' REFERENCES plans,
    ALTER COLUMN max_connections DROP NOT NULL,
    ALTER COLUMN max_connections DROP DEFAULT,
    ADD COLUMN pool_size integer CHECK (pool_size > 0),
    ADD COLUMN disk_quota_bytes bigint CHECK (disk_quota_bytes > 0),
    ADD COLUMN temp_file_limit_bytes bigint CHECK (temp_file_limit_bytes > 0),
    ADD COLUMN statement_timeout_ms integer CHECK (statement_timeout_ms >= 0),
    ADD COLUMN lock_timeout_ms integer CHECK (lock_timeout_ms >= 0),
    ADD COLUMN idle_in_transaction_session_timeout_ms integer
        CHECK (idle_in_transaction_session_timeout_ms >= 0);
-- The default until now, which nobody may have asked for.
UPDATE databases SET max_connections = NULL WHERE max_connections = 50;

-- What each database and its shadow take on disk, and what follows from it. A table of its
-- own: measuring must not wait for whoever works on a database's row.
CREATE TABLE disk_usage (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    used_bytes bigint NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'warning', 'read_only', 'stopped')),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- How large it was when it became read-only: what it grows from there, it grows in spite.
    read_only_from_bytes bigint
);
CREATE INDEX disk_usage_restricted ON disk_usage (state) WHERE state IN ('read_only', 'stopped');

-- A customer sees of it what it sees of the databases themselves.
ALTER TABLE disk_usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON disk_usage TO tenantry_platform USING (true);
CREATE POLICY own ON disk_usage TO tenantry_customer
    USING (EXISTS (SELECT FROM databases d WHERE d.id = database_id));

GRANT SELECT ON plans TO tenantry_platform, tenantry_customer;
GRANT SELECT, INSERT, UPDATE, DELETE ON disk_usage TO tenantry_platform;
GRANT SELECT ON disk_usage TO tenantry_customer;
