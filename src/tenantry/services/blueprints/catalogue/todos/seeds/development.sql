-- Todos to try things out with. Run it as often as you like: what is there stays as it is.
SET LOCAL app.current_user_role = 'administrator';

INSERT INTO api.todos (id, customer_id, title, completed) VALUES
    ('7d0a0000-0000-4000-8000-000000000001', NULL, 'Read the manual', false),
    ('7d0a0000-0000-4000-8000-000000000002', NULL, 'Say hello', true),
    ('7d0a0000-0000-4000-8000-000000000003', 'ann', 'Polish the clock', false),
    ('7d0a0000-0000-4000-8000-000000000004', 'bob', 'Oil the chain', false)
ON CONFLICT DO NOTHING;
