-- Logical backups of databases, a file each. A row comes before its file and goes before it.
-- They outlive their database if they are 'kept'; so 'database_id' refers to what may be gone.
CREATE TABLE backups (
    id uuid PRIMARY KEY,
    database_id uuid NOT NULL,
    database_name text NOT NULL,
    customer_id uuid REFERENCES customers,
    file_name text NOT NULL,
    format text NOT NULL CHECK (format IN ('custom', 'plain')),
    part text NOT NULL CHECK (part IN ('all', 'schema', 'data')),
    origin text NOT NULL CHECK (origin IN ('manual', 'scheduled')),
    description text,
    status text NOT NULL DEFAULT 'making' CHECK (status IN ('making', 'ready', 'damaged')),
    damage text,
    size_bytes bigint,
    sha256 text,
    postgres_version text,
    kept boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    verified_at timestamptz,
    UNIQUE (database_name, file_name),
    CHECK (status = 'making' OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL
        AND postgres_version IS NOT NULL AND finished_at IS NOT NULL)),
    CHECK ((status = 'damaged') = (damage IS NOT NULL))
);
CREATE INDEX backups_of_database ON backups (database_id, created_at DESC, id DESC);

-- When a database is backed up by itself, and what of it is kept. 'begun_at' is when the last
-- one was begun, or since when the schedule is in force.
CREATE TABLE backup_schedules (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    every text NOT NULL CHECK (every IN ('off', 'day', 'week')),
    hour integer NOT NULL CHECK (hour BETWEEN 0 AND 23),
    format text NOT NULL CHECK (format IN ('custom', 'plain')),
    keep_count integer NOT NULL CHECK (keep_count > 0),
    keep_days integer NOT NULL CHECK (keep_days >= 0),
    keep_manual_days integer CHECK (keep_manual_days > 0),
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT, INSERT, UPDATE, DELETE ON backups, backup_schedules TO tenantry_platform;

ALTER TABLE backups ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON backups TO tenantry_platform USING (true);
CREATE POLICY own ON backups TO tenantry_customer
    USING (customer_id = (SELECT current_customer()));
GRANT SELECT, INSERT, UPDATE, DELETE ON backups TO tenantry_customer;

ALTER TABLE backup_schedules ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON backup_schedules TO tenantry_platform USING (true);
CREATE POLICY own ON backup_schedules TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT, INSERT, UPDATE ON backup_schedules TO tenantry_customer;
