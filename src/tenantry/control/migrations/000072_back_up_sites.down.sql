ALTER TABLE sites DROP COLUMN data_folder;
DROP TABLE site_backups;
