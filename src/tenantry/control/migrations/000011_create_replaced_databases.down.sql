DROP TABLE replaced_databases;
