DROP TABLE advice_mutes;
