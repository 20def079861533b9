-- A cluster that is being added takes no databases yet.
ALTER TABLE clusters ADD COLUMN ready boolean NOT NULL DEFAULT true;

-- One pooler serves all clusters, and it knows databases and roles by name.
ALTER TABLE databases ADD CONSTRAINT databases_database_name_key UNIQUE (database_name);
ALTER TABLE databases ADD CONSTRAINT databases_username_key UNIQUE (username);
ALTER TABLE databases DROP CONSTRAINT databases_cluster_id_database_name_key;
ALTER TABLE databases DROP CONSTRAINT databases_cluster_id_username_key;
CREATE INDEX databases_cluster_id_idx ON databases (cluster_id);

-- A customer's database shows its cluster.
GRANT SELECT (id, name, port) ON clusters TO tenantry_customer;
