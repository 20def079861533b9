DROP FUNCTION forget_old_audit_logs(integer);
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['customers', 'databases', 'password_rotations', 'ip_whitelist',
        'database_stats', 'operations', 'api_keys', 'users', 'sessions', 'idempotency_keys',
        'audit_logs']
    LOOP
        EXECUTE format('DROP POLICY platform ON %I', name);
        EXECUTE format('DROP POLICY own ON %I', name);
        EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', name);
        EXECUTE format('REVOKE ALL ON %I FROM tenantry_customer', name);
    END LOOP;
END
$$;
REVOKE ALL ON SCHEMA public FROM tenantry_customer;
DROP FUNCTION current_customer();
