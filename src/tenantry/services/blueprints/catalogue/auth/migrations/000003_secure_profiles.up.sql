-- Forced, so that it holds for the owner too. (SELECT …) is worked out once a query, not once a
-- row.
ALTER TABLE api.profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE api.profiles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON api.profiles FOR SELECT
    USING (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_insert ON api.profiles FOR INSERT
    WITH CHECK (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_update ON api.profiles FOR UPDATE
    USING (user_id = (SELECT current_user_id()))
    WITH CHECK (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_delete ON api.profiles FOR DELETE
    USING (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_administrator ON api.profiles
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

-- Whoever has signed in sees everybody's profile.
CREATE POLICY "Users read all profiles" ON api.profiles FOR SELECT TO authenticated USING (true);

-- The roles of the data API. anon has no privilege on the table: nobody reads it without a token.
GRANT USAGE ON SCHEMA api TO anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON api.profiles TO authenticated;
