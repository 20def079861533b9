DROP TABLE sql_texts;
