CREATE TABLE subscriptions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT,
    tier text NOT NULL CHECK (tier IN ('free', 'premium', 'enterprise')),
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('trialing', 'active', 'past_due', 'cancelled', 'expired')),
    current_period_start timestamptz NOT NULL DEFAULT now(),
    current_period_end timestamptz CHECK (current_period_end > current_period_start),
    cancel_at_period_end boolean NOT NULL DEFAULT false,
    cancelled_at timestamptz,
    provider_subscription_id text UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- What refers to a subscription refers to its user too, so that no reference leaves a user.
    UNIQUE (id, user_id),
    CONSTRAINT subscriptions_cancelled_since
        CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL))
);
CREATE INDEX idx_subscriptions_user_id ON subscriptions (user_id);
CREATE INDEX idx_subscriptions_status ON subscriptions (status);
CREATE INDEX idx_subscriptions_tier ON subscriptions (tier);

CREATE TRIGGER check_subscriptions_status BEFORE UPDATE OF status ON subscriptions
    FOR EACH ROW EXECUTE FUNCTION check_status_change(
        'trialing > active', 'trialing > past_due', 'trialing > cancelled', 'trialing > expired',
        'active > past_due', 'active > cancelled', 'active > expired',
        'past_due > active', 'past_due > cancelled', 'past_due > expired'
    );
CREATE TRIGGER update_subscriptions_updated_at BEFORE UPDATE ON subscriptions
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE subscriptions IS 'What users have subscribed to, and until when.';
COMMENT ON COLUMN subscriptions.status IS
    'cancelled and expired are final: who returns begins anew.';
COMMENT ON COLUMN subscriptions.current_period_end IS 'NULL: it does not end.';
COMMENT ON COLUMN subscriptions.provider_subscription_id IS 'What the payment provider calls it.';
