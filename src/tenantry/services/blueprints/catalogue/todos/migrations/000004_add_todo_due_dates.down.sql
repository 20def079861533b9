ALTER TABLE api.todos DROP COLUMN due_at;
