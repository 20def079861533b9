CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_user_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    tier text NOT NULL DEFAULT 'standard' CHECK (tier IN ('standard', 'premium')),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'closed')),
    white_label_config jsonb NOT NULL DEFAULT '{}'
        CHECK (jsonb_typeof(white_label_config) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_customers_owner_user_id ON customers (owner_user_id);
CREATE INDEX idx_customers_tier ON customers (tier);
CREATE INDEX idx_customers_status ON customers (status);

CREATE TRIGGER update_customers_updated_at BEFORE UPDATE ON customers
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE customers IS 'Organizations. The id is what app.current_customer_id says.';
COMMENT ON COLUMN customers.white_label_config IS
    'Name, colours, logo and domain that its own users see.';
