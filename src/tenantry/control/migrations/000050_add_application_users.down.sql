ALTER TABLE data_apis DROP COLUMN auth;
