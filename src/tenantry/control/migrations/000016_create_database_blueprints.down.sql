DROP TABLE database_blueprints;
