-- An idle instance is suspended after so many seconds, and woken by the next connection; by a direct
-- one only if all direct connections pass through the platform.
ALTER TABLE databases
    ADD COLUMN auto_suspend_seconds integer CHECK (auto_suspend_seconds > 0),
    ADD COLUMN auto_suspend_direct text NOT NULL DEFAULT 'wake'
        CHECK (auto_suspend_direct IN ('wake', 'refuse'));

ALTER TABLE clusters
    DROP CONSTRAINT clusters_wanted_check,
    ADD CONSTRAINT clusters_wanted_check CHECK (wanted IN ('running', 'stopped', 'suspended'));
