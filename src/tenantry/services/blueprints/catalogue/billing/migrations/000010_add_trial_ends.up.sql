ALTER TABLE subscriptions ADD COLUMN trial_ends_at timestamptz;
COMMENT ON COLUMN subscriptions.trial_ends_at IS
    'When it stops being free of charge; stays afterwards.';

-- Checked for new rows from here on, and by the next migration for those that are there:
-- so nobody waits while all are read.
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_trial_ends_later
    CHECK (trial_ends_at > created_at) NOT VALID;
