CREATE FUNCTION update_updated_at_column() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION update_updated_at_column() IS 'For a trigger: notes when a row was changed.';

CREATE FUNCTION check_status_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.status <> OLD.status AND OLD.status || ' > ' || NEW.status <> ALL (TG_ARGV) THEN
        RAISE check_violation USING
            MESSAGE = format(
                '%s: what is %s cannot become %s.', TG_TABLE_NAME, OLD.status, NEW.status
            ),
            HINT = format('It can: %s.', array_to_string(TG_ARGV, ', '));
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_status_change() IS
    'For a trigger: refuses a change of status that is not among its arguments, ''from > to''.';

CREATE FUNCTION refuse_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('%s of %s is refused: %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]);
END $$;
COMMENT ON FUNCTION refuse_change() IS
    'For a trigger: refuses whatever it fires on, for the reason in its argument.';

-- Whose transaction it is: what tenant_transaction of tenantry_rls sets. Without it, nobody's.
-- (Names after RETURN are looked up here and now, whatever search_path is later.)
CREATE FUNCTION current_user_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.current_customer_id', true), '')::uuid;
COMMENT ON FUNCTION current_user_id() IS
    'The user whose transaction it is, by the setting app.current_customer_id; else NULL.';

CREATE FUNCTION is_administrator() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('app.current_user_role', true) = 'administrator', false);
COMMENT ON FUNCTION is_administrator() IS
    'Whether it is an administrator''s transaction, by the setting app.current_user_role.';
