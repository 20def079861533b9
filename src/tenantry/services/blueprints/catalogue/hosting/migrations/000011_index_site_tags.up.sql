CREATE INDEX CONCURRENTLY idx_sites_tags ON sites USING gin (tags);
