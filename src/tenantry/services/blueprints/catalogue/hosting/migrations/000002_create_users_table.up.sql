CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL CHECK (email = lower(email)),
    password_hash text NOT NULL,
    first_name text,
    last_name text,
    role text NOT NULL DEFAULT 'customer' CHECK (role IN ('administrator', 'customer')),
    mfa_enabled boolean NOT NULL DEFAULT false,
    mfa_secret_encrypted bytea,
    failed_login_attempts integer NOT NULL DEFAULT 0 CHECK (failed_login_attempts >= 0),
    last_failed_login_at timestamptz,
    locked_until timestamptz,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_mfa_has_a_secret CHECK (NOT mfa_enabled OR mfa_secret_encrypted IS NOT NULL)
);
CREATE UNIQUE INDEX idx_users_email ON users (email);
CREATE INDEX idx_users_role ON users (role);
CREATE INDEX idx_users_locked_until ON users (locked_until) WHERE locked_until IS NOT NULL;

CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE users IS 'Who logs in: administrators, and owners of customers.';
COMMENT ON COLUMN users.email IS 'In lower case.';
COMMENT ON COLUMN users.password_hash IS 'As made by a slow hash, such as Argon2id.';
COMMENT ON COLUMN users.mfa_secret_encrypted IS
    'The authenticator''s secret, encrypted by the application.';
COMMENT ON COLUMN users.failed_login_attempts IS
    'In a row; the application sets it to 0 after a login.';
COMMENT ON COLUMN users.locked_until IS 'No login before that.';
