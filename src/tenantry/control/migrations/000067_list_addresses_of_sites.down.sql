-- Entries that have expired go on to refuse: an address that nobody has stands for them.
ALTER TABLE sites ADD COLUMN networks cidr[] NOT NULL DEFAULT '{}';
UPDATE sites s SET networks = w.networks
    FROM (SELECT site_id,
            coalesce(array_agg(network) FILTER (WHERE expires_at IS NULL OR expires_at > now()),
                '{192.0.2.1/32}') AS networks
        FROM site_whitelist GROUP BY site_id) w
    WHERE w.site_id = s.id;
DROP TABLE site_whitelist;
