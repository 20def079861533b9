DELETE FROM alert_messages WHERE event = 'database.log_paused';
UPDATE alert_channels SET events = array_remove(events, 'database.log_paused');
CREATE OR REPLACE FUNCTION send_event() RETURNS trigger
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
ALTER TABLE databases DROP COLUMN log_keep_days, DROP COLUMN log_paused_until;
