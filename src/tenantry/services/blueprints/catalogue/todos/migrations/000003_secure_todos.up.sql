-- Forced, so that it holds for the owner too. (SELECT …) is worked out once a query, not once a
-- row.
ALTER TABLE api.todos ENABLE ROW LEVEL SECURITY;
ALTER TABLE api.todos FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_select ON api.todos FOR SELECT
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_insert ON api.todos FOR INSERT
    WITH CHECK (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_update ON api.todos FOR UPDATE
    USING (customer_id = (SELECT current_customer_id()))
    WITH CHECK (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_delete ON api.todos FOR DELETE
    USING (customer_id = (SELECT current_customer_id()));
CREATE POLICY tenant_administrator ON api.todos
    USING ((SELECT is_administrator())) WITH CHECK ((SELECT is_administrator()));

-- What is nobody's is for everybody to read, without a context too. Only administrators can
-- publish: no other policy lets a row be without a customer.
CREATE POLICY "Allow anonymous read" ON api.todos FOR SELECT
    USING (customer_id IS NULL);
