-- The result of a request is kept, and each entry point answers a repeat from it in its own form.
ALTER TABLE idempotency_keys DROP COLUMN status;
ALTER TABLE idempotency_keys RENAME body TO result;
