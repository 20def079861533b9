ALTER TABLE alert_thresholds DROP COLUMN slower_percent;
