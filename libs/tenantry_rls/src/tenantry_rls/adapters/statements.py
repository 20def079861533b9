"""What is said to PostgreSQL, in the placeholders of each driver."""

from tenantry_rls.context import CUSTOMER_SETTING, ROLE_SETTING

Settings = tuple[str, str]  # of the customer, of the role; "" is none

READ = (
    f"SELECT coalesce(current_setting('{CUSTOMER_SETTING}', true), ''),"
    f" coalesce(current_setting('{ROLE_SETTING}', true), '')"
)


def write(customer: str, role: str) -> str:
    """The statement that sets both until the transaction ends, with these placeholders."""
    return (
        f"SELECT set_config('{CUSTOMER_SETTING}', {customer}, true),"
        f" set_config('{ROLE_SETTING}', {role}, true)"
    )
