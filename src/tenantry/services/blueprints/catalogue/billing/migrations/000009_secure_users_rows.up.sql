-- Without a context there are no rows: tenant_transaction of tenantry_rls sets one. Forced, so
-- that it holds for the owner too. (SELECT …) is worked out once a query, not once a row.

-- How they pay is for users to change.
ALTER TABLE payment_methods ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_methods FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON payment_methods FOR SELECT
    USING (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_insert ON payment_methods FOR INSERT
    WITH CHECK (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_update ON payment_methods FOR UPDATE
    USING (user_id = (SELECT current_user_id()))
    WITH CHECK (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_delete ON payment_methods FOR DELETE
    USING (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_administrator ON payment_methods
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

-- What they have subscribed to and paid they only read.
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON users FOR SELECT
    USING (id = (SELECT current_user_id()));
CREATE POLICY tenant_administrator ON users
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

ALTER TABLE subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscriptions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON subscriptions FOR SELECT
    USING (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_administrator ON subscriptions
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

ALTER TABLE payment_transactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_transactions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON payment_transactions FOR SELECT
    USING (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_administrator ON payment_transactions
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

ALTER TABLE refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE refunds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON refunds FOR SELECT
    USING (user_id = (SELECT current_user_id()));
CREATE POLICY tenant_administrator ON refunds
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

-- Everybody may know the currencies.
ALTER TABLE currencies ENABLE ROW LEVEL SECURITY;
ALTER TABLE currencies FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON currencies FOR SELECT
    USING (true);
CREATE POLICY tenant_administrator ON currencies
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

-- What one may and what one did as an administrator, one may read; the rest is for those who act
-- as administrators.
ALTER TABLE admin_roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE admin_roles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON admin_roles FOR SELECT
    USING (admin_user_id = (SELECT current_user_id()));
CREATE POLICY tenant_administrator ON admin_roles
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

ALTER TABLE admin_audit_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE admin_audit_logs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON admin_audit_logs FOR SELECT
    USING (admin_user_id = (SELECT current_user_id()));
CREATE POLICY tenant_administrator ON admin_audit_logs
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));
