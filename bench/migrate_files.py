"""The migrations of ``migrate.py``: ten files, as they are sent, and what undoes them."""

FILES = {
    "000001_create_users.up.sql": """
        CREATE TABLE ran (version int, at timestamptz DEFAULT clock_timestamp());
        CREATE TABLE users (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            email text NOT NULL UNIQUE,
            created_at timestamptz NOT NULL DEFAULT now()
        );
    """,
    "000002_create_sites.up.sql": """
        CREATE TABLE sites (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
            name text NOT NULL,
            settings jsonb NOT NULL DEFAULT '{}'
        );
        CREATE INDEX sites_user ON sites (user_id);
    """,
    "000003_add_status.up.sql": "ALTER TABLE sites ADD status text NOT NULL DEFAULT 'active';",
    "000004_seed.up.sql": """
        INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 100) n;
        INSERT INTO sites (user_id, name) SELECT id, 'site ' || id FROM users;
    """,
    "000005_touch.up.sql": """
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.updated_at = now();
            RETURN NEW;
        END $$;
        ALTER TABLE sites ADD updated_at timestamptz NOT NULL DEFAULT now();
        CREATE TRIGGER touch BEFORE UPDATE ON sites FOR EACH ROW EXECUTE FUNCTION touch();
    """,
    "000006_create_plans.up.sql": """
        CREATE TYPE plan AS ENUM ('free', 'paid');
        ALTER TABLE users ADD plan plan NOT NULL DEFAULT 'free';
    """,
    "000007_check_status.up.sql": """
        ALTER TABLE sites ADD CONSTRAINT known CHECK (status IN ('active', 'gone')) NOT VALID;
        ALTER TABLE sites VALIDATE CONSTRAINT known;
    """,
    "000008_view.up.sql": """
        CREATE VIEW paying AS SELECT id, email FROM users WHERE plan = 'paid';
    """,
    "000009_pay.up.sql": "UPDATE users SET plan = 'paid' WHERE id % 10 = 0;",
    "000010_index.up.sql": "CREATE INDEX sites_name ON sites (lower(name));",
}
SQL = {
    name: f"{text}\nINSERT INTO ran (version) VALUES ({number});\n"
    for number, (name, text) in enumerate(FILES.items(), 1)
}
UNDO = """
    DROP VIEW IF EXISTS paying;
    DROP TABLE IF EXISTS ran, sites, users, schema_migrations, tenantry_migrations;
    DROP FUNCTION IF EXISTS touch;
    DROP TYPE IF EXISTS plan;
"""
