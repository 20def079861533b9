ALTER TABLE clusters DROP COLUMN full_backup_since;
ALTER TABLE clusters ADD COLUMN last_backup_at timestamptz;
DROP TABLE repository_looks;
