DROP TABLE database_roles;
