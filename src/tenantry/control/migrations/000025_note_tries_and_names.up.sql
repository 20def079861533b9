-- Also a check that failed: who is checked next is who was tried longest ago, or what always fails
-- would be first each time.
ALTER TABLE ownership_checks
    ADD COLUMN tried_at timestamptz NOT NULL DEFAULT now(),
    ALTER COLUMN checked_at DROP NOT NULL,
    ALTER COLUMN checked_at DROP DEFAULT;
UPDATE ownership_checks SET tried_at = checked_at;

-- What a task is about, as its cluster knows it: of a database that is gone, nothing else tells.
ALTER TABLE operations ADD COLUMN resource_name text;
UPDATE operations o SET resource_name = d.database_name FROM databases d
    WHERE o.resource_kind = 'database' AND d.id = o.resource_id;
UPDATE operations o SET resource_name = c.name FROM clusters c
    WHERE o.resource_kind = 'cluster' AND c.id = o.resource_id;
