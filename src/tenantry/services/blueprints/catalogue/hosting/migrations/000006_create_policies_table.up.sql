CREATE TABLE policies (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    description text,
    policy_type text NOT NULL CHECK (policy_type IN ('resource_limit', 'security', 'cost')),
    rules jsonb NOT NULL CHECK (jsonb_typeof(rules) = 'object'),
    enabled boolean NOT NULL DEFAULT true,
    created_by uuid REFERENCES users ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_policies_policy_type ON policies (policy_type) WHERE enabled;
CREATE INDEX idx_policies_rules ON policies USING gin (rules);
CREATE INDEX idx_policies_created_by ON policies (created_by);

CREATE TRIGGER update_policies_updated_at BEFORE UPDATE ON policies
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE policies IS
    'What customers'' sites must keep to in the cloud; the platform''s own.';
COMMENT ON COLUMN policies.rules IS 'For example {"max_instances": 4}.';
