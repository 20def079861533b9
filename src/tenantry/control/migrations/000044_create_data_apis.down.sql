DROP TABLE data_apis;
