DROP TABLE clusters;
DROP TABLE customers;
