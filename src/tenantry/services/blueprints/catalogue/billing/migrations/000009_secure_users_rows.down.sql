DROP POLICY tenant_administrator ON admin_audit_logs;
DROP POLICY tenant_select ON admin_audit_logs;
ALTER TABLE admin_audit_logs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE admin_audit_logs DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON admin_roles;
DROP POLICY tenant_select ON admin_roles;
ALTER TABLE admin_roles NO FORCE ROW LEVEL SECURITY;
ALTER TABLE admin_roles DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON currencies;
DROP POLICY tenant_select ON currencies;
ALTER TABLE currencies NO FORCE ROW LEVEL SECURITY;
ALTER TABLE currencies DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON refunds;
DROP POLICY tenant_select ON refunds;
ALTER TABLE refunds NO FORCE ROW LEVEL SECURITY;
ALTER TABLE refunds DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON payment_transactions;
DROP POLICY tenant_select ON payment_transactions;
ALTER TABLE payment_transactions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE payment_transactions DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON subscriptions;
DROP POLICY tenant_select ON subscriptions;
ALTER TABLE subscriptions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE subscriptions DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON users;
DROP POLICY tenant_select ON users;
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;
ALTER TABLE users DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON payment_methods;
DROP POLICY tenant_delete ON payment_methods;
DROP POLICY tenant_update ON payment_methods;
DROP POLICY tenant_insert ON payment_methods;
DROP POLICY tenant_select ON payment_methods;
ALTER TABLE payment_methods NO FORCE ROW LEVEL SECURITY;
ALTER TABLE payment_methods DISABLE ROW LEVEL SECURITY;
