-- What a customer mutes is silent on its own channels alone; muted_until is the platform's.
-- Who set the mutes that are there is unknown: they stay in force for both.
ALTER TABLE alerts ADD COLUMN customer_muted_until timestamptz;
UPDATE alerts SET customer_muted_until = muted_until WHERE muted_until > clock_timestamp();
-- How often an alert has fired lately is counted at each look.
CREATE INDEX alerts_by_firing ON alerts (fired_at);
