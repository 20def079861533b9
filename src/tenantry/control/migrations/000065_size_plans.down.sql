ALTER TABLE customers DROP COLUMN plan;
REVOKE UPDATE ON plans FROM tenantry_platform;
ALTER TABLE plans
    DROP COLUMN max_instances,
    DROP COLUMN instance_cpus,
    DROP COLUMN instance_memory_mb,
    DROP COLUMN max_sites,
    DROP COLUMN site_memory_mb,
    DROP COLUMN site_max_clients;
