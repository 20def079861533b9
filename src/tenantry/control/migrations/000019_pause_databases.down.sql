REVOKE UPDATE (files) ON migration_runs FROM tenantry_platform;
ALTER TABLE databases DROP COLUMN paused_for, DROP COLUMN paused_until;
