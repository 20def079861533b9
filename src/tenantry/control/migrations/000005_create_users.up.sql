-- People: who logs in, with what, and how often that failed.
CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    name text,
    role text NOT NULL CHECK (role IN ('administrator', 'customer')),
    customer_id uuid REFERENCES customers,
    password_hash text NOT NULL,
    -- Sealed with the key file of the home: a copy of this table alone gives nobody a code.
    totp_secret bytea,
    totp_confirmed_at timestamptz,
    -- The last 30-second step whose code was taken; no step is taken twice.
    totp_last_step bigint NOT NULL DEFAULT 0,
    disabled_at timestamptz,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((role = 'customer') = (customer_id IS NOT NULL))
);
CREATE INDEX users_newest_first ON users (created_at DESC, id DESC);

CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    hash bytea NOT NULL,
    PRIMARY KEY (user_id, hash)
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    hash bytea NOT NULL UNIQUE,
    address inet,
    user_agent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_of_user ON sessions (user_id, created_at DESC, id DESC);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Between the right password and the right code.
CREATE TABLE login_challenges (
    hash bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX login_challenges_of_user ON login_challenges (user_id);

-- Failures by account (whether there is one or not) and by address.
CREATE TABLE failed_logins (
    subject text PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL DEFAULT now(),
    locked_until timestamptz
);
CREATE INDEX failed_logins_by_age ON failed_logins (last_at);

-- A key that a person made opens nothing once that person may no longer come in.
ALTER TABLE api_keys ADD created_by uuid REFERENCES users ON DELETE SET NULL;

-- Sessions ask for things to be done once, as keys do.
ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_api_key_id_fkey;
ALTER TABLE idempotency_keys RENAME api_key_id TO caller_id;

ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_actor_kind_check;
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_actor_kind_check
    CHECK (actor_kind IN ('api_key', 'user', 'platform', 'anonymous'));

GRANT SELECT, INSERT, UPDATE, DELETE ON users, recovery_codes, sessions, login_challenges,
    failed_logins TO tenantry_platform;
