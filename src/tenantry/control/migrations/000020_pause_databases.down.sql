ALTER TABLE databases DROP COLUMN paused_for, DROP COLUMN paused_until;
