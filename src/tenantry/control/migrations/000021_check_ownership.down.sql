DROP TABLE ownership_checks;
