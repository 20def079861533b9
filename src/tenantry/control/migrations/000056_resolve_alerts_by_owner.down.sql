ALTER TABLE alerts
    DROP COLUMN customer_acknowledged_at,
    DROP COLUMN customer_acknowledged_by,
    DROP COLUMN customer_resolved_at,
    DROP COLUMN customer_resolved_by;
