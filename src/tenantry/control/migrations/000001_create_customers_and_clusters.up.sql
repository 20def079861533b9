-- Who owns databases, and the servers that hold them.
CREATE TABLE customers (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    name text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE clusters (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (length(name) <= 16),
    kind text NOT NULL CHECK (kind IN ('control', 'shared', 'dedicated')),
    driver text NOT NULL CHECK (driver IN ('process', 'docker', 'patroni', 'external')),
    version integer NOT NULL,
    socket_dir text NOT NULL,
    port integer NOT NULL,
    max_databases integer NOT NULL DEFAULT 2000,
    last_backup_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
