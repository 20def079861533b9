DROP TRIGGER send_event ON audit_logs;
DROP FUNCTION send_event();
DROP TABLE alert_thresholds;
DROP TABLE alert_messages;
DROP TABLE alert_channels;
DROP TABLE alerts;
