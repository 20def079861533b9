ALTER TABLE databases DROP COLUMN timezone;
