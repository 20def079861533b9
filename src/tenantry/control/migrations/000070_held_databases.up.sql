-- A database may be read-only or stopped for want of space on the disk, below its quota.
ALTER TABLE disk_usage ADD COLUMN held boolean NOT NULL DEFAULT false;
