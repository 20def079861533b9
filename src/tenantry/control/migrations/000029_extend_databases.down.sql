ALTER TABLE database_roles DROP COLUMN password_changed_at;
ALTER TABLE plans DROP COLUMN reserve_pool_size;
ALTER TABLE databases DROP COLUMN reserve_pool_size;
DROP TABLE database_activity;
ALTER TABLE disk_usage DROP COLUMN allowed_bytes, DROP COLUMN allowed_for;
ALTER TABLE databases DROP COLUMN password_changed_at, DROP COLUMN rotate_password_days,
    DROP COLUMN rotation_set_at;
