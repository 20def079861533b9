DROP TABLE disk_usage;
UPDATE databases d SET max_connections = coalesce(d.max_connections, p.max_connections)
    FROM plans p WHERE p.name = d.plan;
ALTER TABLE databases
    ALTER COLUMN max_connections SET NOT NULL,
    ALTER COLUMN max_connections SET DEFAULT 50,
    DROP COLUMN plan,
    DROP COLUMN pool_size,
    DROP COLUMN disk_quota_bytes,
    DROP COLUMN temp_file_limit_bytes,
    DROP COLUMN statement_timeout_ms,
    DROP COLUMN lock_timeout_ms,
    DROP COLUMN idle_in_transaction_session_timeout_ms;
DROP TABLE plans;
