DROP TABLE failing_reconciliations;
