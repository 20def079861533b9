-- A result is no answer: a repeat of a request from before is told of a conflict.
ALTER TABLE idempotency_keys RENAME result TO body;
ALTER TABLE idempotency_keys ADD COLUMN status integer NOT NULL DEFAULT 409;
ALTER TABLE idempotency_keys ALTER COLUMN status DROP DEFAULT;
