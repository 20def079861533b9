-- A branch is a database made from another: 'branching' while it is being made, then as any
-- other. Its parent may go before it does.
ALTER TABLE databases
    DROP CONSTRAINT databases_status_check,
    ADD CONSTRAINT databases_status_check
        CHECK (status IN ('creating', 'warm', 'branching', 'active', 'deleting')),
    ADD COLUMN parent_id uuid REFERENCES databases ON DELETE SET NULL,
    ADD COLUMN branched_at timestamptz,
    ADD COLUMN expires_at timestamptz;
CREATE INDEX databases_branches ON databases (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX databases_expiring ON databases (expires_at) WHERE expires_at IS NOT NULL;

DROP INDEX databases_name_is_unique;
CREATE UNIQUE INDEX databases_name_is_unique ON databases (customer_id, environment, name)
    NULLS NOT DISTINCT WHERE name IS NOT NULL AND status IN ('active', 'branching');
DROP INDEX databases_newest_first;
CREATE INDEX databases_newest_first ON databases (created_at DESC, id DESC)
    WHERE status IN ('active', 'branching', 'deleting');
DROP INDEX databases_of_customer;
CREATE INDEX databases_of_customer ON databases (customer_id, created_at DESC, id DESC)
    WHERE status IN ('active', 'branching', 'deleting');

-- What PostgreSQL shall know a branch's password by, until it does.
CREATE TABLE branch_passwords (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    verifier text NOT NULL
);
GRANT SELECT, INSERT, DELETE ON branch_passwords TO tenantry_platform;

-- What is done in each branch of a database before anybody gets in.
CREATE TABLE maskings (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    sql text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON maskings TO tenantry_platform, tenantry_customer;
ALTER TABLE maskings ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON maskings TO tenantry_platform USING (true);
CREATE POLICY own ON maskings TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
