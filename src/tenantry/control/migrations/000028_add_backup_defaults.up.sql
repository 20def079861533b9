-- When databases are backed up by themselves that have no schedule of their own.
CREATE TABLE backup_defaults (
    environment text PRIMARY KEY CHECK (environment IN ('production', 'staging', 'development')),
    every text NOT NULL CHECK (every IN ('off', 'day', 'week')),
    hour integer NOT NULL CHECK (hour BETWEEN 0 AND 23),
    format text NOT NULL CHECK (format IN ('custom', 'plain')),
    keep_count integer NOT NULL CHECK (keep_count > 0),
    keep_days integer NOT NULL CHECK (keep_days >= 0),
    keep_manual_days integer CHECK (keep_manual_days > 0),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO backup_defaults (environment, every, hour, format, keep_count, keep_days) VALUES
    ('production', 'day', 1, 'custom', 7, 7),
    ('staging', 'week', 1, 'custom', 4, 28),
    ('development', 'off', 1, 'custom', 7, 7);
GRANT SELECT, UPDATE ON backup_defaults TO tenantry_platform;
GRANT SELECT ON backup_defaults TO tenantry_customer;

-- The last backup that a schedule began: for the how-many-eth time since it was due, and why
-- it was refused if it was.
CREATE TABLE backup_attempts (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    begun_at timestamptz NOT NULL,
    tries integer NOT NULL CHECK (tries > 0),
    operation_id uuid,
    refused text
);
GRANT SELECT, INSERT, UPDATE, DELETE ON backup_attempts TO tenantry_platform;
ALTER TABLE backup_attempts ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON backup_attempts TO tenantry_platform USING (true);
CREATE POLICY own ON backup_attempts TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT ON backup_attempts TO tenantry_customer;

-- From now on only since when the schedule is in force; what it has begun is an attempt.
ALTER TABLE backup_schedules RENAME COLUMN begun_at TO changed_at;
GRANT DELETE ON backup_schedules TO tenantry_customer;
