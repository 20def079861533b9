ALTER TABLE alert_thresholds
    ADD COLUMN slower_percent integer CHECK (slower_percent BETWEEN 101 AND 100000);
