DROP FUNCTION is_administrator();
DROP FUNCTION current_user_id();
DROP FUNCTION refuse_change();
DROP FUNCTION check_status_change();
DROP FUNCTION update_updated_at_column();
