ALTER TABLE databases DROP COLUMN cpu_weight;
ALTER TABLE plans DROP COLUMN cpu_weight;
