SELECT set_config('app.current_customer_id', '00000000-0000-0000-0000-000000000001', true);
INSERT INTO notes (customer_id, text) VALUES
    ('00000000-0000-0000-0000-000000000001', 'Water the plants'),
    ('00000000-0000-0000-0000-000000000001', 'Feed the cat');
