DROP TABLE left_repositories;

REVOKE SELECT (kind, driver, version, wanted, cpus, memory_mb, container_name) ON clusters
    FROM tenantry_customer;

ALTER TABLE databases ADD COLUMN kind text NOT NULL DEFAULT 'shared'
    CHECK (kind IN ('shared', 'dedicated'));

ALTER TABLE clusters
    DROP COLUMN container_name,
    DROP COLUMN memory_mb,
    DROP COLUMN cpus,
    DROP COLUMN wanted;
