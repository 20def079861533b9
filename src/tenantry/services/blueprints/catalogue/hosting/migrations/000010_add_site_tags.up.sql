ALTER TABLE sites ADD COLUMN tags text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN sites.tags IS
    'What its customer sorts it by; WHERE tags @> ARRAY[''shop''] finds it by an index.';
