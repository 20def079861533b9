-- What each database does, in three resolutions. A row is of the time until "at" ("samples_raw"), or of
-- the minute or hour that begins there; counters have what was added in "seconds" of it, those of the
-- pooler in "pooler_seconds". NULL is what nobody knows.
--
-- Nothing refers to "databases": rows of a deleted one are dropped with their partition. Partitions are
-- created and dropped by the platform's role, so it owns the tables, and has a schema for them. (And COPY
-- is for who is exempt from row-level security.)
CREATE SCHEMA sample_partitions AUTHORIZATION tenantry_platform;

CREATE TABLE samples_raw (
    database_id uuid NOT NULL,
    at timestamptz NOT NULL,
    size_bytes bigint,
    shadow_bytes bigint,
    memory_bytes bigint,
    commits bigint,
    rollbacks bigint,
    rows_read bigint,
    rows_fetched bigint,
    rows_inserted bigint,
    rows_updated bigint,
    rows_deleted bigint,
    blocks_hit bigint,
    blocks_read bigint,
    temporary_bytes bigint,
    wal_bytes bigint,
    pooled_queries bigint,
    deadlocks integer,
    seconds real,
    pooler_seconds real,
    cpu_seconds real,
    pooled_query_seconds real,
    pooled_wait_seconds real,
    longest_transaction_seconds real,
    longest_wait_seconds real,
    direct_active smallint,
    direct_idle smallint,
    direct_in_transaction smallint,
    pooled_active smallint,
    pooled_idle smallint,
    pooled_in_transaction smallint,
    clients_active integer,
    clients_waiting integer,
    PRIMARY KEY (database_id, at)
) PARTITION BY RANGE (at);
CREATE TABLE samples_minute (LIKE samples_raw INCLUDING ALL) PARTITION BY RANGE (at);
CREATE TABLE samples_hour (LIKE samples_raw INCLUDING ALL) PARTITION BY RANGE (at);

-- Up to when the rows of a resolution have been computed from those of the next finer one.
CREATE TABLE sample_rollups (
    resolution text PRIMARY KEY CHECK (resolution IN ('minute', 'hour')),
    until timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON sample_rollups TO tenantry_platform;
GRANT SELECT ON sample_rollups TO tenantry_customer;

-- The newest sample of each database, with its counters as they are: the next one replaces it, and a crash
-- of the server may forget it.
CREATE UNLOGGED TABLE newest_samples (
    database_id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    size_bytes bigint,
    shadow_bytes bigint,
    memory_bytes bigint,
    direct_active bigint NOT NULL,
    direct_idle bigint NOT NULL,
    direct_in_transaction bigint NOT NULL,
    pooled_active bigint NOT NULL,
    pooled_idle bigint NOT NULL,
    pooled_in_transaction bigint NOT NULL,
    longest_transaction_seconds double precision NOT NULL,
    clients_active bigint,
    clients_waiting bigint,
    longest_wait_seconds double precision,
    commits bigint NOT NULL,
    rollbacks bigint NOT NULL,
    rows_read bigint NOT NULL,
    rows_fetched bigint NOT NULL,
    rows_inserted bigint NOT NULL,
    rows_updated bigint NOT NULL,
    rows_deleted bigint NOT NULL,
    blocks_hit bigint NOT NULL,
    blocks_read bigint NOT NULL,
    temporary_bytes bigint NOT NULL,
    deadlocks bigint NOT NULL,
    cpu_seconds double precision,
    wal_bytes bigint,
    pooled_queries bigint,
    pooled_query_seconds double precision,
    pooled_wait_seconds double precision
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['samples_raw', 'samples_minute', 'samples_hour', 'newest_samples'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO tenantry_platform', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I TO tenantry_customer USING (database_id IN
            (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())))', name);
        EXECUTE format('GRANT SELECT ON %I TO tenantry_customer', name);
    END LOOP;
END $$;

-- The sizes sampled so far, from which a restore knows how much room it needs.
DO $$
DECLARE
    month timestamp;
    name text;
BEGIN
    FOR month IN SELECT DISTINCT date_trunc('month', at AT TIME ZONE 'UTC') FROM database_stats LOOP
        name := 'hour_' || to_char(month, 'YYYYMMDDHH24');
        EXECUTE format('CREATE TABLE sample_partitions.%I PARTITION OF samples_hour FOR VALUES FROM (%L)'
            ' TO (%L)', name, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('ALTER TABLE sample_partitions.%I OWNER TO tenantry_platform', name);
    END LOOP;
END $$;
INSERT INTO samples_hour (database_id, at, size_bytes)
    SELECT database_id, date_trunc('hour', at, 'UTC'), max(size_bytes) FROM database_stats GROUP BY 1, 2;
DROP TABLE database_stats;

-- used_bytes includes the shadow's; NULL until the next measurement.
ALTER TABLE disk_usage ADD COLUMN shadow_bytes bigint;
