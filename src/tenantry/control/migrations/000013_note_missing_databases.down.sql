ALTER TABLE databases DROP COLUMN missing_since;
