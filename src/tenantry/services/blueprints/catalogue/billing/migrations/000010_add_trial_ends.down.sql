ALTER TABLE subscriptions DROP COLUMN trial_ends_at;
