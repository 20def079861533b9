CREATE TABLE refunds (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    transaction_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    reason text NOT NULL DEFAULT 'requested_by_customer'
        CHECK (reason IN ('requested_by_customer', 'duplicate', 'fraudulent', 'service_issue')),
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'succeeded', 'failed', 'cancelled')),
    admin_user_id uuid REFERENCES users ON DELETE RESTRICT,
    provider_refund_id text UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (transaction_id, user_id, currency)
        REFERENCES payment_transactions (id, user_id, currency) ON DELETE RESTRICT
);
CREATE INDEX idx_refunds_user_id ON refunds (user_id);
CREATE INDEX idx_refunds_transaction_id ON refunds (transaction_id);
CREATE INDEX idx_refunds_status ON refunds (status);
CREATE INDEX idx_refunds_admin_user_id ON refunds (admin_user_id);

-- Adds to the transaction what is refunded, where a constraint bounds it. The row of the
-- transaction is locked by that, so that two refunds at once are counted one after the other.
CREATE FUNCTION count_refunds() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    counted CONSTANT text[] := ARRAY['pending', 'succeeded'];
    more bigint := 0;
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.status = ANY (counted) THEN
        more := more - OLD.amount;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.status = ANY (counted) THEN
        more := more + NEW.amount;
        PERFORM FROM public.payment_transactions
        WHERE id = NEW.transaction_id
            AND (status = 'succeeded' OR status = 'pending' AND NEW.status = 'pending')
        FOR UPDATE;
        IF NOT FOUND THEN
            RAISE check_violation USING
                MESSAGE = 'refunds: the payment has not succeeded.',
                HINT = 'Only what was paid can be given back.';
        END IF;
    END IF;
    UPDATE public.payment_transactions SET refunded_amount = refunded_amount + more
    WHERE id = CASE TG_OP WHEN 'DELETE' THEN OLD.transaction_id ELSE NEW.transaction_id END
        AND more <> 0;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION count_refunds() IS
    'For a trigger on refunds: keeps payment_transactions.refunded_amount.';

CREATE TRIGGER count_refunds AFTER INSERT OR UPDATE OF status OR DELETE ON refunds
    FOR EACH ROW EXECUTE FUNCTION count_refunds();
CREATE TRIGGER check_refunds_status BEFORE UPDATE OF status ON refunds
    FOR EACH ROW EXECUTE FUNCTION check_status_change(
        'pending > succeeded', 'pending > failed', 'pending > cancelled'
    );
CREATE TRIGGER keep_refunds BEFORE UPDATE OF user_id, transaction_id, amount, currency ON refunds
    FOR EACH ROW EXECUTE FUNCTION refuse_change('cancel it, and record another one.');
CREATE TRIGGER keep_all_refunds BEFORE TRUNCATE ON refunds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('nobody would count them back.');
CREATE TRIGGER update_refunds_updated_at BEFORE UPDATE ON refunds
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE refunds IS
    'What is given back of payments; all of one''s refunds together never more than was paid.';
COMMENT ON COLUMN refunds.amount IS 'In minor units of the currency, which is the payment''s.';
COMMENT ON COLUMN refunds.admin_user_id IS 'Who gave it back; NULL: the system.';
COMMENT ON COLUMN refunds.provider_refund_id IS 'What the payment provider calls it.';
