-- A condition that needs attention. It is open until the condition has gone: one that is resolved by
-- hand stays open meanwhile, so that it does not fire again.
CREATE TABLE alerts (
    id uuid PRIMARY KEY,
    rule text NOT NULL,
    subject text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('warning', 'critical')),
    detail text NOT NULL,
    database_id uuid,
    customer_id uuid REFERENCES customers ON DELETE SET NULL,
    state text NOT NULL CHECK (state IN ('pending', 'firing', 'resolved')),
    open boolean NOT NULL DEFAULT true,
    since timestamptz NOT NULL,
    absent_since timestamptz,
    occurrence uuid,
    fired_at timestamptz,
    resolved_at timestamptz,
    resolved_by text,
    acknowledged_at timestamptz,
    acknowledged_by text,
    muted_until timestamptz
);
CREATE UNIQUE INDEX alerts_open ON alerts (rule, subject) WHERE open;
CREATE INDEX alerts_by_time ON alerts (since DESC, id DESC);
CREATE INDEX alerts_by_customer ON alerts (customer_id, since DESC);
GRANT SELECT, INSERT, UPDATE, DELETE ON alerts TO tenantry_platform;
ALTER TABLE alerts ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON alerts TO tenantry_platform USING (true);
CREATE POLICY own ON alerts TO tenantry_customer
    USING (customer_id = (SELECT current_customer()));
GRANT SELECT, UPDATE ON alerts TO tenantry_customer;

-- Where alerts and events are sent: the platform's, and (with a customer) that customer's own.
-- The target is sealed, since the URLs of Slack and Discord are secrets; so is the signing key.
CREATE TABLE alert_channels (
    id uuid PRIMARY KEY,
    customer_id uuid REFERENCES customers ON DELETE CASCADE,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('email', 'webhook', 'slack', 'discord')),
    shown_target text NOT NULL,
    target bytea NOT NULL,
    signing_key bytea,
    events text[] NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    last_error text,
    last_sent_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE NULLS NOT DISTINCT (customer_id, name)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON alert_channels TO tenantry_platform;
ALTER TABLE alert_channels ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON alert_channels TO tenantry_platform USING (true);
CREATE POLICY own ON alert_channels TO tenantry_customer
    USING (customer_id = (SELECT current_customer()));
GRANT SELECT, INSERT, DELETE ON alert_channels TO tenantry_customer;

-- Messages to be sent, written in the transaction of what they report.
CREATE TABLE alert_messages (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    channel_id uuid NOT NULL REFERENCES alert_channels ON DELETE CASCADE,
    event text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    data jsonb NOT NULL,
    sent_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX alert_messages_unsent ON alert_messages (channel_id, number) WHERE sent_at IS NULL;
CREATE INDEX alert_messages_by_time ON alert_messages (channel_id, event, created_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON alert_messages TO tenantry_platform;
ALTER TABLE alert_messages ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON alert_messages TO tenantry_platform USING (true);

-- One database's own thresholds; null means the platform's.
CREATE TABLE alert_thresholds (
    database_id uuid PRIMARY KEY REFERENCES databases ON DELETE CASCADE,
    disk_percent integer CHECK (disk_percent BETWEEN 1 AND 100),
    connections_percent integer CHECK (connections_percent BETWEEN 1 AND 100),
    transaction_minutes integer CHECK (transaction_minutes BETWEEN 1 AND 10080),
    deadlocks integer CHECK (deadlocks BETWEEN 1 AND 1000000),
    rollback_percent integer CHECK (rollback_percent BETWEEN 1 AND 100)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON alert_thresholds TO tenantry_platform;
ALTER TABLE alert_thresholds ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON alert_thresholds TO tenantry_platform USING (true);
CREATE POLICY own ON alert_thresholds TO tenantry_customer USING (database_id IN
    (SELECT id FROM databases WHERE customer_id = (SELECT current_customer())));
GRANT SELECT, INSERT, UPDATE, DELETE ON alert_thresholds TO tenantry_customer;

-- The audit's rows are written by the transactions that they describe, and so are the messages about
-- them. Anybody can fail to log in as often as they like: one message in ten minutes is enough.
-- The channels are locked, so that one that is deleted meanwhile cannot make what is audited fail.
CREATE FUNCTION send_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    DECLARE
        event text := CASE
            WHEN NEW.result = 'ok' AND NEW.action = 'database.create' THEN 'database.created'
            WHEN NEW.result = 'ok' AND NEW.action IN ('database.deleted', 'database.restored')
                THEN NEW.action
            WHEN NEW.result = 'refused' AND NEW.action = 'login' THEN 'login.failed'
        END;
    BEGIN
        IF event IS NULL THEN
            RETURN NULL;
        END IF;
        INSERT INTO public.alert_messages (id, channel_id, event, at, data)
        SELECT gen_random_uuid(), c.id, event, NEW.at, jsonb_build_object(
            'subject', coalesce(NEW.resource_title, NEW.resource_name, NEW.actor_name),
            'resource_kind', NEW.resource_kind, 'resource_id', NEW.resource_id,
            'resource_name', NEW.resource_name, 'actor', NEW.actor_name,
            'address', host(NEW.address))
        FROM public.alert_channels c
        WHERE event = ANY (c.events)
          AND (c.customer_id IS NULL OR c.customer_id = NEW.customer_id)
          AND (event <> 'login.failed' OR NOT EXISTS (SELECT FROM public.alert_messages m
              WHERE m.channel_id = c.id AND m.event = 'login.failed'
                AND m.created_at > clock_timestamp() - interval '10 minutes'))
        FOR KEY SHARE OF c;
        RETURN NULL;
    END
    $$;
REVOKE ALL ON FUNCTION send_event() FROM PUBLIC;
CREATE TRIGGER send_event AFTER INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION send_event();
