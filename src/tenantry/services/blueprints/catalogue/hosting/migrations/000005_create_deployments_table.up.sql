CREATE TABLE deployments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id bigint NOT NULL,
    site_id uuid NOT NULL,
    deployed_by uuid REFERENCES users ON DELETE SET NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (
        status IN ('pending', 'planning', 'applying', 'succeeded', 'failed', 'cancelled')
    ),
    terraform_plan jsonb,
    terraform_output jsonb,
    error_message text,
    started_at timestamptz,
    finished_at timestamptz CHECK (finished_at >= started_at),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (site_id, customer_id) REFERENCES sites (id, customer_id) ON DELETE CASCADE,
    CONSTRAINT deployments_end_when_finished
        CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
);
CREATE INDEX idx_deployments_customer_id ON deployments (customer_id);
CREATE INDEX idx_deployments_site_id ON deployments (site_id, created_at DESC);
CREATE INDEX idx_deployments_deployed_by ON deployments (deployed_by);
CREATE INDEX idx_deployments_status ON deployments (status);
CREATE INDEX idx_deployments_created_at ON deployments (created_at DESC);

CREATE TRIGGER update_deployments_updated_at BEFORE UPDATE ON deployments
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE deployments IS 'Each time a site was, or is being, deployed.';
COMMENT ON COLUMN deployments.customer_id IS 'The site''s customer.';
COMMENT ON COLUMN deployments.terraform_plan IS 'What terraform show -json says of the plan.';
COMMENT ON COLUMN deployments.terraform_output IS
    'What terraform output -json says after it was applied.';
