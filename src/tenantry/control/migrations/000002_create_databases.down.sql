DROP TABLE database_stats;
DROP TABLE ip_whitelist;
DROP TABLE password_rotations;
DROP TABLE databases;
DROP EXTENSION pg_trgm;
