-- How many of its pool_size connections a pool may open beyond its share.
ALTER TABLE plans ADD COLUMN reserve_pool_size integer NOT NULL DEFAULT 0
    CHECK (reserve_pool_size >= 0);
UPDATE plans SET reserve_pool_size = 5 WHERE name = 'premium';
ALTER TABLE databases ADD COLUMN reserve_pool_size integer CHECK (reserve_pool_size >= 0);

-- What of a database's size does not count while an operation writes a copy of a table.
ALTER TABLE disk_usage ADD COLUMN allowed_bytes bigint NOT NULL DEFAULT 0
    CHECK (allowed_bytes >= 0), ADD COLUMN allowed_for uuid;

-- How many sessions of clients each database had had when it was last looked at, since when it is,
-- and when a tenant's was last seen.
CREATE TABLE database_activity (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    sessions bigint NOT NULL,
    watched_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_active_at timestamptz
);
GRANT SELECT, INSERT, UPDATE, DELETE ON database_activity TO tenantry_platform;
ALTER TABLE database_activity ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON database_activity TO tenantry_platform USING (true);
CREATE POLICY own ON database_activity TO tenantry_customer
    USING (EXISTS (SELECT FROM databases d WHERE d.id = database_id));
GRANT SELECT ON database_activity TO tenantry_customer;

-- When the platform last set a login's password. Of those that are there, the audit knows the
-- last change; without one it is the first.
ALTER TABLE databases
    ADD COLUMN password_changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- After how many days to replace the passwords of its logins, and since when that is wanted.
    ADD COLUMN rotate_password_days integer CHECK (rotate_password_days > 0),
    ADD COLUMN rotation_set_at timestamptz,
    ADD CHECK ((rotate_password_days IS NULL) = (rotation_set_at IS NULL));
UPDATE databases d SET password_changed_at = greatest(d.created_at, (
    SELECT max(a.at) FROM audit_logs a
    WHERE a.resource_id = d.id::text AND a.action = 'database.rotate_password'
      AND a.result = 'ok'));
ALTER TABLE database_roles
    ADD COLUMN password_changed_at timestamptz NOT NULL DEFAULT clock_timestamp();
UPDATE database_roles r SET password_changed_at = greatest(r.created_at, (
    SELECT max(a.at) FROM audit_logs a
    WHERE a.resource_id = r.database_id::text AND a.action = 'role.rotate_password'
      AND a.result = 'ok' AND a.details ->> 'role' = r.username));
