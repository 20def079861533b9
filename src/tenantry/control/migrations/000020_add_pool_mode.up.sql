ALTER TABLE databases ADD COLUMN pool_mode text NOT NULL DEFAULT 'transaction'
    CHECK (pool_mode IN ('transaction', 'session'));
