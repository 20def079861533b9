DROP TABLE past_sessions;
