CREATE SCHEMA api;
COMMENT ON SCHEMA api IS 'What the data API offers.';

-- Not in api, where they would be offered as well.
CREATE FUNCTION update_updated_at_column() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION update_updated_at_column() IS 'For a trigger: notes when a row was changed.';

-- Whose transaction it is: what the data API sets by the token, and tenant_transaction of
-- tenantry_rls. Without it, nobody's. (Names after RETURN are looked up here and now, whatever
-- search_path is later.)
CREATE FUNCTION current_user_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(
        nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub',
        nullif(current_setting('app.current_customer_id', true), '')
    )::uuid;
COMMENT ON FUNCTION current_user_id() IS
    'The user whose transaction it is, by the claim sub of the data API''s token, or by the'
    ' setting app.current_customer_id; else NULL.';

CREATE FUNCTION is_administrator() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('app.current_user_role', true) = 'administrator', false);
COMMENT ON FUNCTION is_administrator() IS
    'Whether it is an administrator''s transaction, by the setting app.current_user_role.';
