-- What the sessions of each database begin with; UTC is the clusters' own.
ALTER TABLE databases ADD COLUMN timezone text NOT NULL DEFAULT 'UTC';
