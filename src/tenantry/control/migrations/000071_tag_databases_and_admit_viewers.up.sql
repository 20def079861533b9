-- Words by which owners group their databases; a list is filtered by several of them at once.
ALTER TABLE databases ADD COLUMN tags text[] NOT NULL DEFAULT '{}'
    CHECK (cardinality(tags) <= 20);
CREATE INDEX databases_tags ON databases USING gin (tags);

-- Texts have no comments, by which statements of the platform's own are known.
ALTER TABLE query_texts ADD COLUMN own boolean NOT NULL DEFAULT false;

-- A viewer sees what a customer's user sees, and changes nothing.
ALTER TABLE users
    DROP CONSTRAINT users_role_check,
    DROP CONSTRAINT users_check,
    ADD CONSTRAINT users_role_check CHECK (role IN ('administrator', 'customer', 'viewer')),
    ADD CONSTRAINT users_check CHECK ((role = 'administrator') = (customer_id IS NULL));
