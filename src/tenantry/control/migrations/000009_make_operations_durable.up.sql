-- What a worker needs to carry a task on where another left it. 'params' is what was asked for,
-- 'state' what its steps have found out so far; neither may hold a secret. 'exclusive' ones have
-- their resource to themselves.
ALTER TABLE operations
    ADD COLUMN actor jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN params jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN state jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN exclusive boolean NOT NULL DEFAULT false,
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN due_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN holder uuid,
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN cancel_requested boolean NOT NULL DEFAULT false,
    ADD COLUMN undoing boolean NOT NULL DEFAULT false,
    ADD COLUMN step_started_at timestamptz,
    ADD COLUMN done_bytes bigint,
    ADD COLUMN total_bytes bigint;
CREATE UNIQUE INDEX operations_one_at_a_time ON operations (resource_id)
    WHERE exclusive AND status IN ('queued', 'running');
CREATE INDEX operations_newest_first ON operations (created_at DESC, id DESC);
