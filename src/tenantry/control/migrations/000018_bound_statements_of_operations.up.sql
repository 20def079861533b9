-- The longest that one statement of an operation may run in a database of a plan: of migrations,
-- blueprints, masking, imports, and of loading a copy. No session can change it.
ALTER TABLE plans ADD COLUMN longest_statement_seconds integer NOT NULL DEFAULT 14400
    CHECK (longest_statement_seconds > 0);
UPDATE plans SET longest_statement_seconds = CASE name
    WHEN 'hobby' THEN 1800 WHEN 'premium' THEN 86400 ELSE 14400 END;
