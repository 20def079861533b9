-- Users, their payments and their administrators to try things out with. Run it as often as you
-- like: what is there stays as it is.
SET LOCAL app.current_user_role = 'administrator';

INSERT INTO users (id, email, auth0_id, name) VALUES
    ('b1110000-0000-4000-8000-000000000001', 'ada@example.com', 'auth0|ada', 'Ada'),
    ('b1110000-0000-4000-8000-000000000002', 'sam@example.com', 'auth0|sam', 'Sam'),
    ('b1110000-0000-4000-8000-000000000003', 'fay@example.com', 'auth0|fay', 'Fay'),
    ('b1110000-0000-4000-8000-000000000004', 'ann@example.com', 'auth0|ann', 'Ann'),
    ('b1110000-0000-4000-8000-000000000005', 'bob@example.com', NULL, 'Bob')
ON CONFLICT DO NOTHING;

INSERT INTO admin_roles (admin_user_id, role, permissions, granted_by)
SELECT users.id, given.role, given.permissions, granter.id
FROM (VALUES
    ('ada@example.com', 'super_admin',
        '{view_users,edit_users,issue_refunds,grant_roles,view_audit_logs}'::text[], NULL),
    ('sam@example.com', 'support_admin', '{view_users,edit_users}', 'ada@example.com'),
    ('fay@example.com', 'finance_admin', '{view_users,issue_refunds}', 'ada@example.com')
) AS given (email, role, permissions, granted_by)
    JOIN users USING (email) LEFT JOIN users AS granter ON granter.email = given.granted_by
ON CONFLICT DO NOTHING;

INSERT INTO subscriptions (id, user_id, tier, status, current_period_end)
SELECT given.id::uuid, users.id, tier, status, current_period_end
FROM (VALUES
    ('b1120000-0000-4000-8000-000000000001', 'ann@example.com', 'premium', 'active',
        now() + interval '1 month'),
    ('b1120000-0000-4000-8000-000000000002', 'bob@example.com', 'free', 'active', NULL)
) AS given (id, email, tier, status, current_period_end) JOIN users USING (email)
ON CONFLICT DO NOTHING;

INSERT INTO payment_methods (
    id, user_id, type, provider_payment_method_id, brand, last_four, expires_on, is_default
)
SELECT 'b1130000-0000-4000-8000-000000000001', id, 'card', 'pm_ann', 'visa', '4242',
    '2031-12-31', true
FROM users WHERE email = 'ann@example.com'
ON CONFLICT DO NOTHING;

INSERT INTO payment_transactions (
    id, user_id, subscription_id, payment_method_id, amount, currency, status, failure_reason
)
SELECT given.id::uuid, subscriptions.user_id, subscriptions.id, payment_methods.id,
    amount, currency, given.status, failure_reason
FROM (VALUES
    ('b1140000-0000-4000-8000-000000000001', 1999, 'USD', 'succeeded', NULL),
    ('b1140000-0000-4000-8000-000000000002', 1999, 'USD', 'failed', 'insufficient funds'),
    ('b1140000-0000-4000-8000-000000000003', 2900, 'JPY', 'pending', NULL)
) AS given (id, amount, currency, status, failure_reason), subscriptions JOIN payment_methods
    USING (user_id)
WHERE subscriptions.id = 'b1120000-0000-4000-8000-000000000001'
ON CONFLICT DO NOTHING;

INSERT INTO refunds (id, user_id, transaction_id, amount, currency, status, admin_user_id)
SELECT 'b1150000-0000-4000-8000-000000000001', transactions.user_id, transactions.id, 500, currency,
    'succeeded', users.id
FROM payment_transactions AS transactions, users
WHERE transactions.id = 'b1140000-0000-4000-8000-000000000001' AND email = 'fay@example.com'
ON CONFLICT DO NOTHING;

-- Nothing of the log can be told apart by others, so it is written to but once.
INSERT INTO admin_audit_logs (
    admin_user_id, action, resource_type, resource_id, affected_user_id, details, ip_address
)
SELECT admin_user_id, 'refund_issued', 'refund', id::text, user_id,
    jsonb_build_object('amount', amount, 'currency', currency), '192.0.2.1'
FROM refunds
WHERE id = 'b1150000-0000-4000-8000-000000000001'
    AND NOT EXISTS (SELECT FROM admin_audit_logs WHERE resource_id = refunds.id::text);
