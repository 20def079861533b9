CREATE TABLE payment_transactions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT,
    subscription_id uuid,
    payment_method_id uuid,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL REFERENCES currencies ON DELETE RESTRICT,
    refunded_amount bigint NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'succeeded', 'failed', 'cancelled')),
    failure_reason text,
    provider_payment_id text UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (subscription_id, user_id)
        REFERENCES subscriptions (id, user_id) ON DELETE RESTRICT,
    FOREIGN KEY (payment_method_id, user_id)
        REFERENCES payment_methods (id, user_id) ON DELETE SET NULL (payment_method_id),
    -- A refund is of its transaction's user, and in its currency.
    UNIQUE (id, user_id, currency),
    CONSTRAINT payment_transactions_refunded_at_most
        CHECK (refunded_amount BETWEEN 0 AND amount),
    CONSTRAINT payment_transactions_failed_for_a_reason
        CHECK (status = 'failed' OR failure_reason IS NULL)
);
CREATE INDEX idx_payment_transactions_user_id ON payment_transactions (user_id);
CREATE INDEX idx_payment_transactions_status ON payment_transactions (status);
CREATE INDEX idx_payment_transactions_created_at ON payment_transactions (created_at DESC);
CREATE INDEX idx_payment_transactions_subscription_id ON payment_transactions (subscription_id);
CREATE INDEX idx_payment_transactions_payment_method_id
    ON payment_transactions (payment_method_id);

CREATE TRIGGER check_payment_transactions_status BEFORE UPDATE OF status ON payment_transactions
    FOR EACH ROW EXECUTE FUNCTION check_status_change(
        'pending > succeeded', 'pending > failed', 'pending > cancelled'
    );
-- What was charged stays; what was refunded is counted by the trigger of refunds alone.
CREATE TRIGGER keep_payment_transactions
    BEFORE UPDATE OF user_id, amount, currency, refunded_amount ON payment_transactions
    FOR EACH ROW WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION refuse_change('what was charged stays. Record a refund.');
CREATE TRIGGER update_payment_transactions_updated_at BEFORE UPDATE ON payment_transactions
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE payment_transactions IS 'Payments, each with how it ended.';
COMMENT ON COLUMN payment_transactions.amount IS
    'In minor units of the currency (see currencies): 1999 USD is 19.99 dollars.';
COMMENT ON COLUMN payment_transactions.refunded_amount IS
    'The sum of its refunds that are pending or have succeeded; counted by their trigger.';
COMMENT ON COLUMN payment_transactions.status IS 'Only a pending one changes.';
COMMENT ON COLUMN payment_transactions.provider_payment_id IS 'What the payment provider calls it.';
