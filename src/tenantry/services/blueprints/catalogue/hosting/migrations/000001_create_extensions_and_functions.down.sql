DROP FUNCTION is_administrator();
DROP FUNCTION current_customer_id();
DROP FUNCTION update_updated_at_column();
DROP EXTENSION pgcrypto;
DROP EXTENSION "uuid-ossp";
