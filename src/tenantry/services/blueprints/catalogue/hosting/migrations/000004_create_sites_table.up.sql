CREATE TABLE sites (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id bigint NOT NULL REFERENCES customers ON DELETE RESTRICT,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    domain text NOT NULL CHECK (domain = lower(domain)),
    cloud_provider text NOT NULL
        CHECK (cloud_provider IN ('aws', 'azure', 'gcp', 'digitalocean', 'akamai')),
    region text,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'deploying', 'active', 'failed', 'suspended')),
    configuration jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(configuration) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    -- What refers to a site refers to its customer too, so that no reference leaves a customer.
    UNIQUE (id, customer_id)
);
CREATE INDEX idx_sites_customer_id ON sites (customer_id);
CREATE UNIQUE INDEX idx_sites_domain ON sites (customer_id, domain) WHERE deleted_at IS NULL;
CREATE INDEX idx_sites_cloud_provider ON sites (cloud_provider);
CREATE INDEX idx_sites_status ON sites (status) WHERE deleted_at IS NULL;
CREATE INDEX idx_sites_deleted_at ON sites (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TRIGGER update_sites_updated_at BEFORE UPDATE ON sites
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE sites IS 'Websites of customers. Deleted by setting deleted_at.';
COMMENT ON COLUMN sites.domain IS
    'In lower case; once per customer among the sites that are not deleted.';
COMMENT ON COLUMN sites.configuration IS
    'What the provider is asked for: sizes, images, variables.';
COMMENT ON COLUMN sites.deleted_at IS 'Since when it is deleted; NULL: it is there.';
