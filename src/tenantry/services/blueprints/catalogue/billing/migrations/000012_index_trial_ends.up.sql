CREATE INDEX CONCURRENTLY idx_subscriptions_trial_ends_at ON subscriptions (trial_ends_at)
    WHERE status = 'trialing';
