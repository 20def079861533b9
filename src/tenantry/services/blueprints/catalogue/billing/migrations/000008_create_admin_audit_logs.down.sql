DROP TABLE admin_audit_logs;
