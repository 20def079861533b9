-- Without a context there are no rows: tenant_transaction of tenantry_rls sets one. Forced, so
-- that it holds for the owner too. (SELECT …) is worked out once a query, not once a row.

-- Customers change what is theirs to change.
ALTER TABLE sites ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON sites FOR SELECT
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_insert ON sites FOR INSERT
    WITH CHECK (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_update ON sites FOR UPDATE
    USING (customer_id = (SELECT current_customer_id()))
    WITH CHECK (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_delete ON sites FOR DELETE
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_administrator ON sites
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

ALTER TABLE deployments ENABLE ROW LEVEL SECURITY;
ALTER TABLE deployments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON deployments FOR SELECT
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_insert ON deployments FOR INSERT
    WITH CHECK (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_update ON deployments FOR UPDATE
    USING (customer_id = (SELECT current_customer_id()))
    WITH CHECK (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_delete ON deployments FOR DELETE
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_administrator ON deployments
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

ALTER TABLE ecommerce_integrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE ecommerce_integrations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON ecommerce_integrations FOR SELECT
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_insert ON ecommerce_integrations FOR INSERT
    WITH CHECK (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_update ON ecommerce_integrations FOR UPDATE
    USING (customer_id = (SELECT current_customer_id()))
    WITH CHECK (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_delete ON ecommerce_integrations FOR DELETE
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_administrator ON ecommerce_integrations
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

-- Their costs, tier, status and login they only read.
ALTER TABLE cost_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE cost_records FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON cost_records FOR SELECT
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_administrator ON cost_records
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE customers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON customers FOR SELECT
    USING (id = (SELECT current_customer_id()));
CREATE POLICY tenant_administrator ON customers
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON users FOR SELECT
    USING (id = (SELECT owner_user_id FROM customers WHERE customers.id = current_customer_id()));
CREATE POLICY tenant_administrator ON users
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

-- The platform's rules are for every customer to read.
ALTER TABLE policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE policies FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON policies FOR SELECT
    USING ((SELECT current_customer_id()) IS NOT NULL);
CREATE POLICY tenant_administrator ON policies
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));
