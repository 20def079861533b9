ALTER TABLE disk_usage DROP COLUMN held;
