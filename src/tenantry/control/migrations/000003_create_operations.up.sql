-- Long tasks. The row is the truth; the job queue only wakes whoever works on it.
CREATE TABLE operations (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    resource_kind text NOT NULL,
    resource_id uuid NOT NULL,
    customer_id uuid REFERENCES customers,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    step text,
    progress real NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    result jsonb,
    error jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
);
CREATE INDEX operations_unfinished ON operations (created_at)
    WHERE status IN ('queued', 'running');
CREATE INDEX operations_of_resource ON operations (resource_id, created_at DESC);
