CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL CHECK (email = lower(email)),
    auth0_id text,
    name text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX idx_users_email ON users (email);
CREATE UNIQUE INDEX idx_users_auth0_id ON users (auth0_id);

CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TABLE users IS 'Who subscribes and pays, and who administrates.';
COMMENT ON COLUMN users.email IS 'In lower case.';
COMMENT ON COLUMN users.auth0_id IS 'Whom the identity provider knows; NULL until the first login.';

-- Amounts are counted in minor units, and this says what those are.
CREATE TABLE currencies (
    code text PRIMARY KEY CHECK (code ~ '^[A-Z]{3}$'),
    name text NOT NULL,
    minor_units smallint NOT NULL CHECK (minor_units BETWEEN 0 AND 4)
);
COMMENT ON TABLE currencies IS 'The currencies that are taken. Add yours.';
COMMENT ON COLUMN currencies.code IS 'ISO 4217.';
COMMENT ON COLUMN currencies.minor_units IS
    'Digits after the point: with 2, an amount of 1999 is 19.99; with 0, it is 1999.';

INSERT INTO currencies (code, name, minor_units) VALUES
    ('AUD', 'Australian dollar', 2),
    ('BRL', 'Brazilian real', 2),
    ('CAD', 'Canadian dollar', 2),
    ('CHF', 'Swiss franc', 2),
    ('CNY', 'Renminbi', 2),
    ('CZK', 'Czech koruna', 2),
    ('DKK', 'Danish krone', 2),
    ('EUR', 'Euro', 2),
    ('GBP', 'Pound sterling', 2),
    ('INR', 'Indian rupee', 2),
    ('JPY', 'Yen', 0),
    ('KRW', 'Won', 0),
    ('KWD', 'Kuwaiti dinar', 3),
    ('MXN', 'Mexican peso', 2),
    ('NOK', 'Norwegian krone', 2),
    ('NZD', 'New Zealand dollar', 2),
    ('PLN', 'Zloty', 2),
    ('SEK', 'Swedish krona', 2),
    ('SGD', 'Singapore dollar', 2),
    ('TND', 'Tunisian dinar', 3),
    ('USD', 'US dollar', 2),
    ('ZAR', 'Rand', 2);
