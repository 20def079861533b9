DROP TABLE api.profiles;
