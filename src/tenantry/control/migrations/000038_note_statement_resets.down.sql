DROP TABLE statement_resets;
