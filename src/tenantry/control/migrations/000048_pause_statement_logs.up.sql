-- A database that floods the log is not logged until that moment. ``log_keep_days`` is how long its
-- entries are kept; NULL: as long as those of the audit.
ALTER TABLE databases
    ADD COLUMN log_keep_days integer CHECK (log_keep_days BETWEEN 1 AND 3650),
    ADD COLUMN log_paused_until timestamptz;

CREATE OR REPLACE FUNCTION send_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    DECLARE
        happened text := CASE
            WHEN NEW.result = 'ok' AND NEW.action = 'database.create' THEN 'database.created'
            WHEN NEW.result = 'ok' AND NEW.action IN
                ('database.deleted', 'database.restored', 'database.log_paused') THEN NEW.action
            WHEN NEW.result = 'refused' AND NEW.action = 'login' THEN 'login.failed'
        END;
    BEGIN
        IF happened IS NULL THEN
            RETURN NULL;
        END IF;
        INSERT INTO public.alert_messages (id, channel_id, event, at, data)
        SELECT gen_random_uuid(), c.id, happened, NEW.at, jsonb_build_object(
            'subject', coalesce(NEW.resource_title, NEW.resource_name, NEW.actor_name),
            'resource_kind', NEW.resource_kind, 'resource_id', NEW.resource_id,
            'resource_name', NEW.resource_name, 'actor', NEW.actor_name,
            'address', host(NEW.address))
        FROM public.alert_channels c
        WHERE happened = ANY (c.events)
          AND (c.customer_id IS NULL OR c.customer_id = NEW.customer_id)
          AND (happened NOT IN ('login.failed', 'database.log_paused') OR NOT EXISTS (
              SELECT FROM public.alert_messages m
              WHERE m.channel_id = c.id AND m.event = happened
                AND (happened = 'login.failed' OR m.data ->> 'resource_id' = NEW.resource_id::text)
                AND m.created_at > clock_timestamp() - interval '10 minutes'))
        FOR KEY SHARE OF c;
        RETURN NULL;
    END
    $$;
