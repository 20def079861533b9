-- What a customer acknowledges or resolves is so for that customer alone; the other columns are the
-- platform's. Who did it before is a name only: that stays in force for both.
ALTER TABLE alerts
    ADD COLUMN customer_acknowledged_at timestamptz,
    ADD COLUMN customer_acknowledged_by text,
    ADD COLUMN customer_resolved_at timestamptz,
    ADD COLUMN customer_resolved_by text;
UPDATE alerts SET customer_acknowledged_at = acknowledged_at,
    customer_acknowledged_by = acknowledged_by
    WHERE acknowledged_at IS NOT NULL AND customer_id IS NOT NULL;
