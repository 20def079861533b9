ALTER TABLE api.todos ADD COLUMN due_at timestamptz;
COMMENT ON COLUMN api.todos.due_at IS 'When it is to be done; NULL: whenever.';
