REVOKE DELETE ON backup_schedules FROM tenantry_customer;
ALTER TABLE backup_schedules RENAME COLUMN changed_at TO begun_at;
UPDATE backup_schedules s SET begun_at = greatest(s.begun_at, a.begun_at)
    FROM backup_attempts a WHERE a.database_id = s.database_id;
DROP TABLE backup_attempts, backup_defaults;
