DROP FUNCTION is_administrator();
DROP FUNCTION current_user_id();
DROP FUNCTION update_updated_at_column();
DROP SCHEMA api;
