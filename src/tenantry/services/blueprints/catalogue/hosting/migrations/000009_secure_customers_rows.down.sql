DROP POLICY tenant_administrator ON policies;
DROP POLICY tenant_select ON policies;
ALTER TABLE policies NO FORCE ROW LEVEL SECURITY;
ALTER TABLE policies DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON users;
DROP POLICY tenant_select ON users;
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;
ALTER TABLE users DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON customers;
DROP POLICY tenant_select ON customers;
ALTER TABLE customers NO FORCE ROW LEVEL SECURITY;
ALTER TABLE customers DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON cost_records;
DROP POLICY tenant_select ON cost_records;
ALTER TABLE cost_records NO FORCE ROW LEVEL SECURITY;
ALTER TABLE cost_records DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON ecommerce_integrations;
DROP POLICY tenant_delete ON ecommerce_integrations;
DROP POLICY tenant_update ON ecommerce_integrations;
DROP POLICY tenant_insert ON ecommerce_integrations;
DROP POLICY tenant_select ON ecommerce_integrations;
ALTER TABLE ecommerce_integrations NO FORCE ROW LEVEL SECURITY;
ALTER TABLE ecommerce_integrations DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON deployments;
DROP POLICY tenant_delete ON deployments;
DROP POLICY tenant_update ON deployments;
DROP POLICY tenant_insert ON deployments;
DROP POLICY tenant_select ON deployments;
ALTER TABLE deployments NO FORCE ROW LEVEL SECURITY;
ALTER TABLE deployments DISABLE ROW LEVEL SECURITY;

DROP POLICY tenant_administrator ON sites;
DROP POLICY tenant_delete ON sites;
DROP POLICY tenant_update ON sites;
DROP POLICY tenant_insert ON sites;
DROP POLICY tenant_select ON sites;
ALTER TABLE sites NO FORCE ROW LEVEL SECURITY;
ALTER TABLE sites DISABLE ROW LEVEL SECURITY;
