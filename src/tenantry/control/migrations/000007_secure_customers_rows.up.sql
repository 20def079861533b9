-- What a customer sees and touches is decided here, for whatever query: a transaction of a
-- customer's runs as tenantry_customer, and says which. Without that it finds nothing.
-- The platform's own role sees all; nobody but it may become tenantry_customer.
CREATE FUNCTION current_customer() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog
    RETURN CASE WHEN current_setting('app.current_user_role', true) = 'customer'
        THEN nullif(current_setting('app.current_customer_id', true), '')::uuid END;
REVOKE ALL ON FUNCTION current_customer() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION current_customer() TO tenantry_customer;
GRANT USAGE ON SCHEMA public TO tenantry_customer;

-- (SELECT …) is worked out once a query, not once a row.

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON customers TO tenantry_platform USING (true);
CREATE POLICY own ON customers TO tenantry_customer USING (id = (SELECT current_customer()));
GRANT SELECT ON customers TO tenantry_customer;

-- One that nobody has yet can be taken, by who makes it their own.
ALTER TABLE databases ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON databases TO tenantry_platform USING (true);
CREATE POLICY own ON databases TO tenantry_customer
    USING (customer_id = (SELECT current_customer())
        OR customer_id IS NULL AND status IN ('creating', 'warm'))
    WITH CHECK (customer_id = (SELECT current_customer()));
GRANT SELECT, UPDATE ON databases TO tenantry_customer;

ALTER TABLE password_rotations ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON password_rotations TO tenantry_platform USING (true);
CREATE POLICY own ON password_rotations TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT, DELETE ON password_rotations TO tenantry_customer;

ALTER TABLE ip_whitelist ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON ip_whitelist TO tenantry_platform USING (true);
CREATE POLICY own ON ip_whitelist TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT, INSERT, UPDATE, DELETE ON ip_whitelist TO tenantry_customer;

ALTER TABLE database_stats ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON database_stats TO tenantry_platform USING (true);
CREATE POLICY own ON database_stats TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT ON database_stats TO tenantry_customer;

ALTER TABLE operations ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON operations TO tenantry_platform USING (true);
CREATE POLICY own ON operations TO tenantry_customer
    USING (customer_id = (SELECT current_customer()));
GRANT SELECT, INSERT, UPDATE ON operations TO tenantry_customer;

ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON api_keys TO tenantry_platform USING (true);
CREATE POLICY own ON api_keys TO tenantry_customer
    USING (customer_id = (SELECT current_customer()));
GRANT SELECT, INSERT, UPDATE ON api_keys TO tenantry_customer;

-- Of people only whether they may still come in; of codes, challenges and failures nothing.
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON users TO tenantry_platform USING (true);
CREATE POLICY own ON users TO tenantry_customer USING (customer_id = (SELECT current_customer()));
GRANT SELECT (id, customer_id, disabled_at) ON users TO tenantry_customer;

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON sessions TO tenantry_platform USING (true);
CREATE POLICY own ON sessions TO tenantry_customer USING (user_id IN (SELECT id FROM users));
GRANT SELECT (id, user_id) ON sessions TO tenantry_customer;

ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON idempotency_keys TO tenantry_platform USING (true);
CREATE POLICY own ON idempotency_keys TO tenantry_customer
    USING (caller_id IN (SELECT id FROM api_keys) OR caller_id IN (SELECT id FROM sessions));
GRANT SELECT, INSERT ON idempotency_keys TO tenantry_customer;

ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON audit_logs TO tenantry_platform USING (true);
CREATE POLICY own ON audit_logs TO tenantry_customer
    USING (customer_id = (SELECT current_customer()));
GRANT SELECT, INSERT ON audit_logs TO tenantry_customer;

-- Rows are only ever added; what is older than its retention goes, and nothing younger than
-- 30 days can, whatever the platform's role is made to ask.
CREATE FUNCTION forget_old_audit_logs(keep_days integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    DECLARE
        forgotten bigint;
    BEGIN
        IF keep_days IS NULL OR keep_days < 30 THEN
            RAISE EXCEPTION 'the audit is kept for 30 days at least';
        END IF;
        DELETE FROM public.audit_logs WHERE at < now() - make_interval(days => keep_days);
        GET DIAGNOSTICS forgotten = ROW_COUNT;
        RETURN forgotten;
    END
    $$;
REVOKE ALL ON FUNCTION forget_old_audit_logs(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_old_audit_logs(integer) TO tenantry_platform;
