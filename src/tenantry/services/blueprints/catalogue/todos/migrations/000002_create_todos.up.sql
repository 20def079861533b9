CREATE TABLE api.todos (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id text DEFAULT current_customer_id() CHECK (length(customer_id) BETWEEN 1 AND 128),
    title text NOT NULL CHECK (length(title) BETWEEN 1 AND 500),
    completed boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_todos_customer_id ON api.todos (customer_id, created_at DESC);

CREATE TRIGGER update_todos_updated_at BEFORE UPDATE ON api.todos
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE api.todos IS 'What is to be done.';
COMMENT ON COLUMN api.todos.customer_id IS
    'Whose it is, as the token names it; who makes one, unless said. NULL: it is public.';
COMMENT ON COLUMN api.todos.title IS '1 to 500 characters.';
