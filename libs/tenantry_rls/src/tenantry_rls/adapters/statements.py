"""What is said to PostgreSQL, in the placeholders of each driver or in none."""

import re
from functools import lru_cache

from tenantry_rls.context import CUSTOMER_SETTING, ROLE_SETTING

Settings = tuple[str, str]  # of the customer, of the role; "" is none

READ = (
    f"SELECT coalesce(current_setting('{CUSTOMER_SETTING}', true), ''),"
    f" coalesce(current_setting('{ROLE_SETTING}', true), '')"
)

_UNLIKE_ITSELF = re.compile(r"[^A-Za-z0-9_.@ -]")


def write(customer: str, role: str) -> str:
    """The statement that sets both until the transaction ends, with these placeholders."""
    return (
        f"SELECT set_config('{CUSTOMER_SETTING}', {customer}, true),"
        f" set_config('{ROLE_SETTING}', {role}, true)"
    )


@lru_cache(maxsize=1024)
def set_local(settings: Settings) -> str:
    """Statements that do the same without parameters, to go in one message with BEGIN.

    PostgreSQL neither plans nor answers them, which ``set_config`` in a SELECT costs.
    """
    customer, role = map(_literal, settings)
    return f"SET LOCAL {CUSTOMER_SETTING} = {customer}; SET LOCAL {ROLE_SETTING} = {role}"


def _literal(text: str) -> str:
    """An SQL string in which nothing but letters and digits of ASCII stands for itself.

    So there is nothing in it that a setting of the server, a client's encoding or a driver's
    placeholders could read in another way.
    """
    return "E'" + _UNLIKE_ITSELF.sub(lambda each: f"\\U{ord(each[0]):08x}", text) + "'"
