-- A customer has a plan, which has the sizes of what it creates and how many it may have; null is no
-- limit of the plan's.
ALTER TABLE plans
    ADD COLUMN max_instances integer CHECK (max_instances >= 0),
    ADD COLUMN instance_cpus double precision CHECK (instance_cpus > 0),
    ADD COLUMN instance_memory_mb integer CHECK (instance_memory_mb > 0),
    ADD COLUMN max_sites integer CHECK (max_sites >= 0),
    ADD COLUMN site_memory_mb integer CHECK (site_memory_mb > 0),
    ADD COLUMN site_max_clients integer CHECK (site_max_clients BETWEEN 1 AND 10000);
UPDATE plans p SET max_instances = v.max_instances, instance_cpus = v.instance_cpus,
        instance_memory_mb = v.instance_memory_mb, max_sites = v.max_sites,
        site_memory_mb = v.site_memory_mb, site_max_clients = v.site_max_clients
    FROM (VALUES
        ('hobby', 1, 1, 512, 3, 16, 50),
        ('standard', 3, 2, 1024, NULL, 32, 100),
        ('premium', 10, 4, 4096, 100, 256, 1000)
    ) AS v (name, max_instances, instance_cpus, instance_memory_mb, max_sites, site_memory_mb,
        site_max_clients)
    WHERE p.name = v.name;
GRANT UPDATE ON plans TO tenantry_platform;

ALTER TABLE customers ADD COLUMN plan text NOT NULL DEFAULT 'standard' REFERENCES plans;
