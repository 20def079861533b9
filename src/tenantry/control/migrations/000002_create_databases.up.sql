-- Wanted state. A row lives through: creating -> warm -> active -> deleting, then it is gone.
-- 'warm' databases wait for an owner; whoever works on a row holds its lock, so that
-- a row that can be locked is nobody's work in progress.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE databases (
    id uuid PRIMARY KEY,
    cluster_id uuid NOT NULL REFERENCES clusters,
    database_name text NOT NULL,
    username text NOT NULL,
    status text NOT NULL CHECK (status IN ('creating', 'warm', 'active', 'deleting')),
    has_shadow boolean NOT NULL DEFAULT true,
    customer_id uuid REFERENCES customers,
    name text,
    friendly_name text,
    environment text NOT NULL DEFAULT 'production'
        CHECK (environment IN ('production', 'staging', 'development')),
    kind text NOT NULL DEFAULT 'shared' CHECK (kind IN ('shared', 'dedicated')),
    max_connections integer NOT NULL DEFAULT 50 CHECK (max_connections > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (cluster_id, database_name),
    UNIQUE (cluster_id, username),
    CHECK (status IN ('creating', 'warm') OR friendly_name IS NOT NULL)
);

CREATE UNIQUE INDEX databases_name_is_unique ON databases (customer_id, environment, name)
    NULLS NOT DISTINCT WHERE name IS NOT NULL AND status = 'active';
CREATE INDEX databases_newest_first ON databases (created_at DESC, id DESC)
    WHERE status IN ('active', 'deleting');
CREATE INDEX databases_of_customer ON databases (customer_id, created_at DESC, id DESC)
    WHERE status IN ('active', 'deleting');
CREATE INDEX databases_warm ON databases (created_at) WHERE status = 'warm';
CREATE INDEX databases_unfinished ON databases (status) WHERE status IN ('creating', 'deleting');
CREATE INDEX databases_search ON databases USING gin (
    (coalesce(friendly_name, '') || ' ' || coalesce(name, '') || ' ' || database_name) gin_trgm_ops
);

-- A password that is being changed: the verifier to go back to if the change is not finished.
CREATE TABLE password_rotations (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    verifier_before text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ip_whitelist (
    id uuid PRIMARY KEY,
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    network cidr NOT NULL,
    description text,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (database_id, network)
);

CREATE TABLE database_stats (
    database_id uuid NOT NULL REFERENCES databases ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now(),
    size_bytes bigint NOT NULL,
    connections integer NOT NULL,
    transactions_committed bigint NOT NULL,
    transactions_rolled_back bigint NOT NULL,
    cache_hit_ratio double precision,
    PRIMARY KEY (database_id, at)
);
CREATE INDEX database_stats_by_time ON database_stats (at);
