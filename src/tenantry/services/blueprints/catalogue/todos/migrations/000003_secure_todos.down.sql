DROP POLICY "Allow anonymous read" ON api.todos;
DROP POLICY tenant_administrator ON api.todos;
DROP POLICY tenant_delete ON api.todos;
DROP POLICY tenant_update ON api.todos;
DROP POLICY tenant_insert ON api.todos;
DROP POLICY tenant_select ON api.todos;
ALTER TABLE api.todos NO FORCE ROW LEVEL SECURITY;
ALTER TABLE api.todos DISABLE ROW LEVEL SECURITY;
