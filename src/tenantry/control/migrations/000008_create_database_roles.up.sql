-- Logins of a database besides its first one. 'verifier_before' is what to go back to if a
-- change of password is not finished.
CREATE TABLE database_roles (
    id uuid PRIMARY KEY,
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    name text NOT NULL,
    username text NOT NULL,
    access text NOT NULL CHECK (access IN ('read_only', 'read_write')),
    max_connections integer NOT NULL CHECK (max_connections > 0),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'deleting')),
    verifier_before text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (database_id, name)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON database_roles TO tenantry_platform;

ALTER TABLE database_roles ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON database_roles TO tenantry_platform USING (true);
CREATE POLICY own ON database_roles TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT, INSERT, UPDATE, DELETE ON database_roles TO tenantry_customer;
