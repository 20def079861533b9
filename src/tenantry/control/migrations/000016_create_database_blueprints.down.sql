DROP TABLE database_blueprints;

ALTER TABLE databases
    DROP CONSTRAINT databases_status_check,
    ADD CONSTRAINT databases_status_check CHECK
        (status IN ('creating', 'warm', 'branching', 'active', 'deleting')),
    DROP CONSTRAINT databases_check,
    ADD CONSTRAINT databases_check CHECK
        (status IN ('creating', 'warm') OR friendly_name IS NOT NULL);
