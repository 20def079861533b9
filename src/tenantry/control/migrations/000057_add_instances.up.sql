-- A dedicated cluster, an instance, has the database of one tenant, a size of its own, and can be
-- stopped.
ALTER TABLE clusters
    ADD COLUMN wanted text NOT NULL DEFAULT 'running' CHECK (wanted IN ('running', 'stopped')),
    ADD COLUMN cpus double precision CHECK (cpus > 0),
    ADD COLUMN memory_mb integer CHECK (memory_mb > 0),
    ADD COLUMN container_name text UNIQUE CHECK (length(container_name) <= 63);

-- The cluster knows it.
ALTER TABLE databases DROP COLUMN kind;

-- A customer's database shows its instance.
GRANT SELECT (kind, driver, version, wanted, cpus, memory_mb, container_name) ON clusters
    TO tenantry_customer;

-- What deleted instances have left in the backup repositories, until its retention is over.
CREATE TABLE left_repositories (
    cluster_name text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, DELETE ON left_repositories TO tenantry_platform;
