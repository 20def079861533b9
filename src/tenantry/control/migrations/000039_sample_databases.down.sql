ALTER TABLE disk_usage DROP COLUMN shadow_bytes;

CREATE TABLE database_stats (
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now(),
    size_bytes bigint NOT NULL,
    connections integer NOT NULL,
    transactions_committed bigint NOT NULL,
    transactions_rolled_back bigint NOT NULL,
    cache_hit_ratio double precision,
    PRIMARY KEY (database_id, at)
);
CREATE INDEX database_stats_by_time ON database_stats (at);
GRANT SELECT, INSERT, UPDATE, DELETE ON database_stats TO tenantry_platform;
ALTER TABLE database_stats ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON database_stats TO tenantry_platform USING (true);
CREATE POLICY own ON database_stats TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT ON database_stats TO tenantry_customer;

DROP TABLE newest_samples, sample_rollups, samples_raw, samples_minute, samples_hour;
DROP SCHEMA sample_partitions;
