DROP INDEX alerts_by_firing;
ALTER TABLE alerts DROP COLUMN customer_muted_until;
