-- A database that wrote what no quota counts: until when nobody connects to it, and what it wrote.
ALTER TABLE databases
    ADD COLUMN paused_until timestamptz,
    ADD COLUMN paused_for text CHECK (paused_for IN ('wal', 'notify', 'log', 'temp', 'settings')),
    ADD CONSTRAINT databases_paused CHECK ((paused_until IS NULL) = (paused_for IS NULL));
CREATE INDEX databases_paused_until ON databases (paused_until) WHERE paused_until IS NOT NULL;

-- The files of a run are removed when it is over: up to 1 MiB each, which no quota counts.
GRANT UPDATE (files) ON migration_runs TO tenantry_platform;
