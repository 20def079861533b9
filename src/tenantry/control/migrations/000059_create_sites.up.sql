-- Sites of the AI cache: wanted state of a Redis process each. Of its password and its API key only
-- digests are stored; an empty list of networks admits every address.
CREATE TABLE sites (
    id uuid PRIMARY KEY,
    customer_id uuid REFERENCES customers,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'deleting')),
    port integer NOT NULL UNIQUE CHECK (port BETWEEN 1 AND 65535),
    memory_mb integer NOT NULL CHECK (memory_mb > 0),
    max_clients integer NOT NULL CHECK (max_clients BETWEEN 1 AND 10000),
    eviction text NOT NULL,
    persistence text NOT NULL CHECK (persistence IN ('none', 'aof')),
    semantic text NOT NULL DEFAULT 'exact' CHECK (semantic IN ('off', 'exact', 'shadow', 'on')),
    settings jsonb NOT NULL DEFAULT '{}',
    networks cidr[] NOT NULL DEFAULT '{}',
    password_hash bytea NOT NULL,
    key_hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE NULLS NOT DISTINCT (customer_id, name)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON sites TO tenantry_platform;
ALTER TABLE sites ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON sites TO tenantry_platform USING (true);
CREATE POLICY own ON sites TO tenantry_customer
    USING (customer_id = (SELECT current_customer()));
GRANT SELECT, INSERT, UPDATE ON sites TO tenantry_customer;
