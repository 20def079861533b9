CREATE EXTENSION IF NOT EXISTS pgcrypto;

CREATE TABLE notes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id uuid NOT NULL,
    text text NOT NULL CHECK (length(text) > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notes_of_customer ON notes (customer_id, created_at);
