ALTER TABLE plans DROP COLUMN longest_statement_seconds;
