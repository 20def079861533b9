-- Two customers to try things out with. Run it as often as you like: what is there stays as it is.
SET LOCAL app.current_user_role = 'administrator';

-- The password of each is "development only".
INSERT INTO users (id, email, password_hash, first_name, role)
SELECT uuid_generate_v5(uuid_ns_url(), 'mailto:' || email), email,
    crypt('development only', gen_salt('bf')), first_name, role
FROM (VALUES
    ('admin@example.com', 'Ada', 'administrator'),
    ('ann@example.com', 'Ann', 'customer'),
    ('bob@example.com', 'Bob', 'customer')
) AS given (email, first_name, role)
ON CONFLICT DO NOTHING;

INSERT INTO customers (owner_user_id, name, tier, white_label_config)
SELECT users.id, given.name, given.tier, given.white_label_config
FROM (VALUES
    ('ann@example.com', 'Ann''s Antiques', 'premium', jsonb '{"brand": "Antiques Online"}'),
    ('bob@example.com', 'Bob''s Bikes', 'standard', jsonb '{}')
) AS given (email, name, tier, white_label_config) JOIN users USING (email)
WHERE NOT EXISTS (SELECT FROM customers WHERE owner_user_id = users.id);

INSERT INTO sites (id, customer_id, name, domain, cloud_provider, region, status)
SELECT uuid_generate_v5(uuid_ns_dns(), given.domain), customers.id,
    given.name, given.domain, given.cloud_provider, given.region, given.status
FROM (VALUES
    ('ann@example.com', 'Shop', 'antiques.example', 'aws', 'eu-central-1', 'active'),
    ('ann@example.com', 'Blog', 'blog.antiques.example', 'digitalocean', 'fra1', 'pending'),
    ('bob@example.com', 'Shop', 'bikes.example', 'akamai', 'de-fra-2', 'active')
) AS given (email, name, domain, cloud_provider, region, status)
    JOIN users USING (email) JOIN customers ON customers.owner_user_id = users.id
ON CONFLICT DO NOTHING;

INSERT INTO deployments (
    id, customer_id, site_id, status, terraform_plan, terraform_output, started_at, finished_at
)
SELECT uuid_generate_v5(sites.id, 'first deployment'), customer_id, sites.id, 'succeeded',
    '{"resource_changes": []}', '{"address": {"value": "192.0.2.10"}}',
    sites.created_at, sites.created_at + interval '90 seconds'
FROM sites WHERE status = 'active' AND domain LIKE '%.example'
ON CONFLICT DO NOTHING;

INSERT INTO policies (name, policy_type, rules) VALUES
    ('at most four instances', 'resource_limit', '{"max_instances": 4}'),
    ('no port but 80 and 443', 'security', '{"open_ports": [80, 443]}'),
    ('100 USD a month', 'cost', '{"max_monthly_amount": "100.00", "currency": "USD"}')
ON CONFLICT DO NOTHING;

-- In production the application encrypts, and the key never comes here.
INSERT INTO ecommerce_integrations (
    id, customer_id, site_id, platform, store_url, credentials_encrypted, status
)
SELECT uuid_generate_v5(id, 'shopify'), customer_id, id, 'shopify',
    'https://antiques.example', pgp_sym_encrypt('{"token": "none"}', 'development only'), 'active'
FROM sites WHERE id = uuid_generate_v5(uuid_ns_dns(), 'antiques.example')
ON CONFLICT DO NOTHING;

INSERT INTO cost_records (customer_id, site_id, cost_date, cloud_provider, amount, cost_breakdown)
SELECT customer_id, id, day, cloud_provider, 1.85, '{"compute": "1.20", "storage": "0.65"}'
FROM sites, generate_series(date '2026-01-01', date '2026-01-07', '1 day') AS day
WHERE status = 'active' AND domain LIKE '%.example'
ON CONFLICT DO NOTHING;
