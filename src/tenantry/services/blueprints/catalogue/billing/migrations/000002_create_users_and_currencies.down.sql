DROP TABLE currencies;
DROP TABLE users;
