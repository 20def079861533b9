REVOKE SELECT (id, name, port) ON clusters FROM tenantry_customer;

DROP INDEX databases_cluster_id_idx;
ALTER TABLE databases ADD UNIQUE (cluster_id, database_name);
ALTER TABLE databases ADD UNIQUE (cluster_id, username);
ALTER TABLE databases DROP CONSTRAINT databases_username_key;
ALTER TABLE databases DROP CONSTRAINT databases_database_name_key;

ALTER TABLE clusters DROP COLUMN ready;
