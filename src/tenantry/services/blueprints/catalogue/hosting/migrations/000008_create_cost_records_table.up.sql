CREATE TABLE cost_records (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id bigint NOT NULL REFERENCES customers ON DELETE RESTRICT,
    site_id uuid NOT NULL,
    cost_date date NOT NULL,
    cloud_provider text NOT NULL
        CHECK (cloud_provider IN ('aws', 'azure', 'gcp', 'digitalocean', 'akamai')),
    amount numeric(14, 6) NOT NULL CHECK (amount >= 0),
    currency text NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$'),
    cost_breakdown jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(cost_breakdown) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (site_id, customer_id) REFERENCES sites (id, customer_id) ON DELETE RESTRICT,
    -- A site has one customer, so this is one a site and day. Without the customer in it, who
    -- knows another's site could find out on which days it had costs.
    CONSTRAINT cost_records_site_id_cost_date_key UNIQUE (site_id, cost_date, customer_id)
);
CREATE INDEX idx_cost_records_customer_id ON cost_records (customer_id);
CREATE INDEX idx_cost_records_cost_date ON cost_records (cost_date DESC);

CREATE TRIGGER update_cost_records_updated_at BEFORE UPDATE ON cost_records
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE cost_records IS 'What a site cost on a day, as its cloud provider says.';
COMMENT ON COLUMN cost_records.customer_id IS 'The site''s customer.';
COMMENT ON COLUMN cost_records.amount IS
    'In whole units of the currency, exactly; providers charge fractions of a cent.';
COMMENT ON COLUMN cost_records.currency IS 'ISO 4217.';
COMMENT ON COLUMN cost_records.cost_breakdown IS
    'Amounts by type of resource, such as {"compute": "1.20"}.';
