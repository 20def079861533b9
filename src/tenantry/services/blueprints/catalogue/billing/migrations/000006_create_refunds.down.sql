DROP TABLE refunds;
DROP FUNCTION count_refunds();
