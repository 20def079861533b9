CREATE TABLE admin_audit_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    admin_user_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT,
    action text NOT NULL CHECK (length(action) BETWEEN 1 AND 100),
    resource_type text NOT NULL,
    resource_id text,
    affected_user_id uuid REFERENCES users ON DELETE RESTRICT,
    details jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
    ip_address inet,
    user_agent text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_admin_audit_logs_admin_user_id ON admin_audit_logs (admin_user_id);
CREATE INDEX idx_admin_audit_logs_created_at ON admin_audit_logs (created_at DESC);
CREATE INDEX idx_admin_audit_logs_affected_user_id ON admin_audit_logs (affected_user_id);

CREATE TRIGGER only_append_to_admin_audit_logs
    BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('the audit log is only added to.');

COMMENT ON TABLE admin_audit_logs IS 'What administrators did. Only added to, by anybody.';
COMMENT ON COLUMN admin_audit_logs.action IS 'Such as refund_issued.';
COMMENT ON COLUMN admin_audit_logs.affected_user_id IS 'Whose data it was about.';
