-- Earlier code would take viewers for users who may change everything.
DELETE FROM users WHERE role = 'viewer';
ALTER TABLE users
    DROP CONSTRAINT users_role_check,
    DROP CONSTRAINT users_check,
    ADD CONSTRAINT users_role_check CHECK (role IN ('administrator', 'customer')),
    ADD CONSTRAINT users_check CHECK ((role = 'customer') = (customer_id IS NOT NULL));
ALTER TABLE query_texts DROP COLUMN own;
ALTER TABLE databases DROP COLUMN tags;
