CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
CREATE EXTENSION IF NOT EXISTS pgcrypto;

CREATE FUNCTION update_updated_at_column() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION update_updated_at_column() IS 'For a trigger: notes when a row was changed.';

-- Whose transaction it is: what tenant_transaction of tenantry_rls sets. Without it, nobody's.
-- (Names after RETURN are looked up here and now, whatever search_path is later.)
CREATE FUNCTION current_customer_id() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.current_customer_id', true), '')::bigint;
COMMENT ON FUNCTION current_customer_id() IS
    'The customer whose transaction it is, by the setting app.current_customer_id; else NULL.';

CREATE FUNCTION is_administrator() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('app.current_user_role', true) = 'administrator', false);
COMMENT ON FUNCTION is_administrator() IS
    'Whether it is an administrator''s transaction, by the setting app.current_user_role.';
