ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON notes
    USING (customer_id = nullif(current_setting('app.current_customer_id', true), '')::uuid);

CREATE FUNCTION shorten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.text := left(NEW.text, 1000);
    RETURN NEW;
END
$$;
CREATE TRIGGER shorten BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION shorten();
CREATE VIEW newest WITH (security_invoker = true) AS
    SELECT id, customer_id, created_at FROM notes ORDER BY created_at DESC LIMIT 10;
