ALTER TABLE databases DROP COLUMN pool_mode;
