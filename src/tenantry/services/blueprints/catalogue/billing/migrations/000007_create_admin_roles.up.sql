CREATE TABLE admin_roles (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    admin_user_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT,
    role text NOT NULL CHECK (role IN ('super_admin', 'support_admin', 'finance_admin')),
    permissions text[] NOT NULL DEFAULT '{}' CHECK (array_position(permissions, NULL) IS NULL),
    granted_by uuid REFERENCES users ON DELETE RESTRICT,
    granted_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz CHECK (revoked_at >= granted_at)
);
CREATE UNIQUE INDEX idx_admin_roles_in_force ON admin_roles (admin_user_id, role)
    WHERE revoked_at IS NULL;
CREATE INDEX idx_admin_roles_admin_user_id ON admin_roles (admin_user_id);
CREATE INDEX idx_admin_roles_role ON admin_roles (role) WHERE revoked_at IS NULL;
CREATE INDEX idx_admin_roles_granted_by ON admin_roles (granted_by);

COMMENT ON TABLE admin_roles IS 'Who administrates, and what each may.';
COMMENT ON COLUMN admin_roles.permissions IS
    'Such as {view_users,issue_refunds}; the application asks.';
COMMENT ON COLUMN admin_roles.granted_by IS 'NULL: it was there from the start.';
COMMENT ON COLUMN admin_roles.revoked_at IS 'Since when it is taken back; NULL: it is in force.';
