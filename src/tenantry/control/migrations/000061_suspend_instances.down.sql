UPDATE clusters SET wanted = 'running' WHERE wanted = 'suspended';

ALTER TABLE clusters
    DROP CONSTRAINT clusters_wanted_check,
    ADD CONSTRAINT clusters_wanted_check CHECK (wanted IN ('running', 'stopped'));

ALTER TABLE databases
    DROP COLUMN auto_suspend_direct,
    DROP COLUMN auto_suspend_seconds;
