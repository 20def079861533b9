DROP INDEX sites_port;
ALTER TABLE sites ADD CONSTRAINT sites_port_key UNIQUE (port);
ALTER TABLE sites DROP COLUMN isolation;
