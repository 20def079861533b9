-- Allowlists of sites, with entries as those of databases have. A site with an entry has a list, also
-- when all of its entries have expired.
CREATE TABLE site_whitelist (
    id uuid PRIMARY KEY,
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    network cidr NOT NULL,
    description text,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (site_id, network)
);
INSERT INTO site_whitelist (id, site_id, network)
    SELECT gen_random_uuid(), s.id, n.network
    FROM sites s CROSS JOIN LATERAL (SELECT DISTINCT unnest(s.networks) AS network) n;
ALTER TABLE sites DROP COLUMN networks;

GRANT SELECT, INSERT, UPDATE, DELETE ON site_whitelist TO tenantry_platform, tenantry_customer;
ALTER TABLE site_whitelist ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON site_whitelist TO tenantry_platform USING (true);
CREATE POLICY own ON site_whitelist TO tenantry_customer
    USING (EXISTS (SELECT FROM sites s WHERE s.id = site_id));
