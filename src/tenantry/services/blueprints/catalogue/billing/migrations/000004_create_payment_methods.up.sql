CREATE TABLE payment_methods (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT,
    type text NOT NULL CHECK (type IN ('card', 'bank_account', 'wallet')),
    provider_payment_method_id text NOT NULL,
    brand text,
    last_four text CHECK (last_four ~ '^[0-9]{4}$'),
    expires_on date,
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (id, user_id),
    UNIQUE (provider_payment_method_id, user_id)
);
CREATE INDEX idx_payment_methods_user_id ON payment_methods (user_id);
CREATE UNIQUE INDEX idx_payment_methods_default ON payment_methods (user_id) WHERE is_default;

CREATE TRIGGER update_payment_methods_updated_at BEFORE UPDATE ON payment_methods
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE payment_methods IS
    'How users pay. Numbers of cards are the provider''s, and never here.';
COMMENT ON COLUMN payment_methods.provider_payment_method_id IS 'The provider''s token for it.';
COMMENT ON COLUMN payment_methods.last_four IS 'The last four digits, for people to know it by.';
COMMENT ON COLUMN payment_methods.is_default IS 'One of a user''s at most.';
