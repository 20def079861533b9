-- A data API sets the claims of the token that it has verified: the customer is their "sub".
CREATE OR REPLACE FUNCTION current_customer_id() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(
        nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub',
        nullif(current_setting('app.current_customer_id', true), '')
    );
COMMENT ON FUNCTION current_customer_id() IS
    'The customer whose transaction it is, by the claim sub of the data API''s token, or by the'
    ' setting app.current_customer_id; else NULL.';

-- The roles of the data API. What anon has besides SELECT is for an open API: see the next policy.
GRANT USAGE ON SCHEMA api TO anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON api.todos TO anon, authenticated;

-- An open data API lets requests without a token write, for demonstrations: what is public. The
-- anon key is a token, and has a time at which it expires.
CREATE POLICY "Anybody writes where the data API is open" ON api.todos TO anon
    USING (
        customer_id IS NULL
        AND NOT (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ? 'exp')
    )
    WITH CHECK (
        customer_id IS NULL
        AND NOT (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ? 'exp')
    );
