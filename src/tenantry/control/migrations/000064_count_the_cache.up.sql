-- What the AI cache did, by site and model: numbers by their names. A row of cache_minutes or
-- cache_hours is of the time that begins at its moment, and cache_totals has all since the site was
-- created. The model is what clients named; '' is none.
CREATE TABLE cache_minutes (
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    at timestamptz NOT NULL,
    model text NOT NULL CHECK (length(model) <= 100),
    counts jsonb NOT NULL,
    PRIMARY KEY (site_id, at, model)
);
CREATE TABLE cache_hours (
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    at timestamptz NOT NULL,
    model text NOT NULL CHECK (length(model) <= 100),
    counts jsonb NOT NULL,
    PRIMARY KEY (site_id, at, model)
);
CREATE TABLE cache_totals (
    site_id uuid PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
    counts jsonb NOT NULL
);
-- Rows of the present are written again every few seconds.
ALTER TABLE cache_minutes SET (fillfactor = 70);
ALTER TABLE cache_hours SET (fillfactor = 70);
ALTER TABLE cache_totals SET (fillfactor = 50);

-- The operator's prices of a million tokens, each valid from a day in UTC on.
CREATE TABLE cache_prices (
    model text NOT NULL CHECK (length(model) BETWEEN 1 AND 100),
    valid_from date NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    input numeric(12, 6) NOT NULL CHECK (input >= 0),
    output numeric(12, 6) NOT NULL CHECK (output >= 0),
    PRIMARY KEY (model, valid_from)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON cache_minutes, cache_hours, cache_totals, cache_prices
    TO tenantry_platform;
GRANT SELECT ON cache_minutes, cache_hours, cache_totals, cache_prices TO tenantry_customer;
ALTER TABLE cache_minutes ENABLE ROW LEVEL SECURITY;
ALTER TABLE cache_hours ENABLE ROW LEVEL SECURITY;
ALTER TABLE cache_totals ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON cache_minutes TO tenantry_platform USING (true);
CREATE POLICY platform ON cache_hours TO tenantry_platform USING (true);
CREATE POLICY platform ON cache_totals TO tenantry_platform USING (true);
CREATE POLICY own ON cache_minutes TO tenantry_customer
    USING (EXISTS (SELECT FROM sites s WHERE s.id = site_id));
CREATE POLICY own ON cache_hours TO tenantry_customer
    USING (EXISTS (SELECT FROM sites s WHERE s.id = site_id));
CREATE POLICY own ON cache_totals TO tenantry_customer
    USING (EXISTS (SELECT FROM sites s WHERE s.id = site_id));
