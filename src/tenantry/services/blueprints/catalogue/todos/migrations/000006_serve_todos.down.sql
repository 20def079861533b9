DROP POLICY "Anybody writes where the data API is open" ON api.todos;
REVOKE SELECT, INSERT, UPDATE, DELETE ON api.todos FROM anon, authenticated;
REVOKE USAGE ON SCHEMA api FROM anon, authenticated, service_role;
CREATE OR REPLACE FUNCTION current_customer_id() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.current_customer_id', true), '');
COMMENT ON FUNCTION current_customer_id() IS
    'The customer whose transaction it is, by the setting app.current_customer_id; else NULL.';
