-- What a repository was last seen to hold of a cluster. "place" tells which repository: what is
-- known of one is never taken for another's.
CREATE TABLE repository_looks (
    cluster_id uuid NOT NULL REFERENCES clusters ON DELETE CASCADE,
    place text NOT NULL,
    looked_at timestamptz NOT NULL,
    problem text,
    last_backup_at timestamptz,
    last_full_at timestamptz,
    restorable_from timestamptz,
    PRIMARY KEY (cluster_id, place)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON repository_looks TO tenantry_platform;
ALTER TABLE repository_looks ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON repository_looks TO tenantry_platform USING (true);

-- Whether there is a backup, the repositories say.
ALTER TABLE clusters DROP COLUMN last_backup_at;
ALTER TABLE clusters ADD COLUMN full_backup_since timestamptz;
