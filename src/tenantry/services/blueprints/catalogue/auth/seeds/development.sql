-- Profiles to try things out with. Run it as often as you like: what is there stays as it is.
SET LOCAL app.current_user_role = 'administrator';

-- Users without a password, who cannot sign in.
DO $$
BEGIN
    IF to_regclass('auth.users') IS NOT NULL THEN
        INSERT INTO auth.users (id, email, email_confirmed_at) VALUES
            ('7d0a0000-0000-4000-8000-000000000011', 'cleo@example.com', now()),
            ('7d0a0000-0000-4000-8000-000000000012', 'dan@example.com', now())
        ON CONFLICT (id) DO NOTHING;
    END IF;
END $$;

INSERT INTO api.profiles (user_id, display_name, about) VALUES
    ('7d0a0000-0000-4000-8000-000000000011', 'Cleo', 'Repairs clocks.'),
    ('7d0a0000-0000-4000-8000-000000000012', 'Dan', NULL)
ON CONFLICT DO NOTHING;
