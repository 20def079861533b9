-- Parameters of PostgreSQL that the owner of an instance has set: those that its files have, and, if
-- they differ, those that they get when the instance is started by an operation.
ALTER TABLE clusters
    ADD COLUMN parameters jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(parameters) = 'object'),
    ADD COLUMN next_parameters jsonb CHECK (jsonb_typeof(next_parameters) = 'object');
