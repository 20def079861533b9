DROP FUNCTION roll_query_history(integer);
DROP TABLE query_texts, query_history, query_hours, query_counters, query_snapshots;
