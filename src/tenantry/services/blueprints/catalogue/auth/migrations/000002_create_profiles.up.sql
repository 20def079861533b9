CREATE TABLE api.profiles (
    user_id uuid PRIMARY KEY DEFAULT current_user_id(),
    display_name text CHECK (length(display_name) BETWEEN 1 AND 100),
    about text CHECK (length(about) <= 2000),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- The data API creates auth.users when application users are enabled, in a new database before this
-- file runs. A database that was there before may not have them.
DO $$
BEGIN
    IF to_regclass('auth.users') IS NOT NULL THEN
        ALTER TABLE api.profiles
            ADD FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE;
    END IF;
END $$;

CREATE TRIGGER update_profiles_updated_at BEFORE UPDATE ON api.profiles
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE api.profiles IS 'What users of the application show of themselves.';
COMMENT ON COLUMN api.profiles.user_id IS
    'Whose it is: auth.users.id, the claim sub of its tokens; who makes it, unless said.';
COMMENT ON COLUMN api.profiles.display_name IS '1 to 100 characters.';
COMMENT ON COLUMN api.profiles.about IS 'Up to 2000 characters.';
