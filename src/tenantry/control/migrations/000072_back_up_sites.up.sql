-- Backups of sites of the AI cache, a file each in the repositories. A row comes before its files and
-- goes after them. They outlive their site for a while: 'site_id' refers to what may be gone.
CREATE TABLE site_backups (
    id uuid PRIMARY KEY,
    site_id uuid NOT NULL,
    site_name text NOT NULL,
    customer_id uuid REFERENCES customers ON DELETE SET NULL,
    origin text NOT NULL CHECK (origin IN ('manual', 'scheduled')),
    status text NOT NULL DEFAULT 'making' CHECK (status IN ('making', 'ready', 'deleting')),
    size_bytes bigint,
    sha256 text,
    memory_bytes bigint,
    keys bigint,
    server text,
    places text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    site_deleted_at timestamptz,
    CHECK (status <> 'ready' OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL
        AND memory_bytes IS NOT NULL AND keys IS NOT NULL AND server IS NOT NULL
        AND finished_at IS NOT NULL AND cardinality(places) > 0))
);
CREATE INDEX site_backups_of_site ON site_backups (site_id, created_at DESC, id DESC);
CREATE INDEX site_backups_of_customer ON site_backups (customer_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON site_backups TO tenantry_platform;
ALTER TABLE site_backups ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON site_backups TO tenantry_platform USING (true);
CREATE POLICY own ON site_backups TO tenantry_customer
    USING (customer_id = (SELECT current_customer()));
GRANT SELECT, INSERT, UPDATE ON site_backups TO tenantry_customer;

-- The folder with the files of a site that survive a restart: a restore puts others into a new one.
ALTER TABLE sites ADD COLUMN data_folder text NOT NULL DEFAULT 'appendonlydir';
