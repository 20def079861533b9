CREATE TABLE ecommerce_integrations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id bigint NOT NULL,
    site_id uuid NOT NULL,
    platform text NOT NULL CHECK (platform IN ('shopify', 'woocommerce', 'bigcommerce')),
    store_url text NOT NULL,
    credentials_encrypted bytea NOT NULL,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'active', 'failed', 'disabled')),
    error_message text,
    last_sync_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (site_id, customer_id) REFERENCES sites (id, customer_id) ON DELETE CASCADE,
    UNIQUE (site_id, platform, customer_id)
);
CREATE INDEX idx_ecommerce_integrations_customer_id ON ecommerce_integrations (customer_id);
CREATE INDEX idx_ecommerce_integrations_platform ON ecommerce_integrations (platform);
CREATE INDEX idx_ecommerce_integrations_status ON ecommerce_integrations (status);

CREATE TRIGGER update_ecommerce_integrations_updated_at BEFORE UPDATE ON ecommerce_integrations
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE ecommerce_integrations IS 'Shops that sites are connected to.';
COMMENT ON COLUMN ecommerce_integrations.customer_id IS 'The site''s customer.';
COMMENT ON COLUMN ecommerce_integrations.credentials_encrypted IS
    'Encrypted before they come here, with a key that is not in this database.';
COMMENT ON COLUMN ecommerce_integrations.last_sync_at IS 'When the shop was last read to the end.';
