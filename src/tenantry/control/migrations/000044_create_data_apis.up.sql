-- The REST APIs on databases: wanted state. The password of the login and the secrets that tokens are
-- signed with are sealed with the installation's key, since the service has to read them.
CREATE TABLE data_apis (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    authenticator text NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabling')),
    schemas text[] NOT NULL DEFAULT '{public}' CHECK (cardinality(schemas) BETWEEN 1 AND 20),
    anonymous boolean NOT NULL,
    open boolean NOT NULL,
    max_rows integer CHECK (max_rows > 0),
    statement_timeout_ms integer CHECK (statement_timeout_ms > 0),
    jwks_url text,
    allowed_origins text[] NOT NULL,
    password bytea NOT NULL,
    verifier text NOT NULL,
    jwt_secret bytea NOT NULL,
    previous_jwt_secret bytea,
    previous_until timestamptz,
    keys_issued_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((previous_jwt_secret IS NULL) = (previous_until IS NULL))
);
GRANT SELECT, INSERT, UPDATE, DELETE ON data_apis TO tenantry_platform, tenantry_customer;
ALTER TABLE data_apis ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON data_apis TO tenantry_platform USING (true);
CREATE POLICY own ON data_apis TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
