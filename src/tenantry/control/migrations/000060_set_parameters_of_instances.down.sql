ALTER TABLE clusters
    DROP COLUMN next_parameters,
    DROP COLUMN parameters;
