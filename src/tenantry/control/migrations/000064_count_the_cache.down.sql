DROP TABLE cache_prices;
DROP TABLE cache_totals;
DROP TABLE cache_hours;
DROP TABLE cache_minutes;
