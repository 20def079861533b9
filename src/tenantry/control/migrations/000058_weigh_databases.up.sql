-- Each database's share of the processors, relative to the others of its cluster.
ALTER TABLE plans ADD COLUMN cpu_weight integer NOT NULL DEFAULT 100
    CHECK (cpu_weight BETWEEN 1 AND 10000);
UPDATE plans SET cpu_weight = 50 WHERE name = 'hobby';
UPDATE plans SET cpu_weight = 200 WHERE name = 'premium';
ALTER TABLE databases ADD COLUMN cpu_weight integer CHECK (cpu_weight BETWEEN 1 AND 10000);
