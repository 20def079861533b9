CREATE INDEX CONCURRENTLY idx_todos_due_at ON api.todos (customer_id, due_at) WHERE NOT completed;
