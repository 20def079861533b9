DROP TABLE database_moves;
ALTER TABLE replaced_databases DROP COLUMN cluster_id;
