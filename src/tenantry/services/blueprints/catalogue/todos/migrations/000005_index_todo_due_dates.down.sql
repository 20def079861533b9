DROP INDEX CONCURRENTLY api.idx_todos_due_at;
