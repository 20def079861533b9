-- Tiny sites can share one Redis process, which has one port.
ALTER TABLE sites ADD COLUMN isolation text NOT NULL DEFAULT 'dedicated'
    CHECK (isolation IN ('dedicated', 'shared'));
ALTER TABLE sites DROP CONSTRAINT sites_port_key;
CREATE UNIQUE INDEX sites_port ON sites (port) WHERE isolation = 'dedicated';
