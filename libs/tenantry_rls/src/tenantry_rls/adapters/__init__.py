"""``tenant_transaction`` for each driver; a module is imported when its driver is in use."""
