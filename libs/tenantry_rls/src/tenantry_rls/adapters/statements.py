"""The statements that set the context, with the placeholders of each driver or without."""

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
    """Return the statement that sets both until the transaction ends, with these placeholders."""
    return (
        f"SELECT set_config('{CUSTOMER_SETTING}', {customer}, true),"
        f" set_config('{ROLE_SETTING}', {role}, true)"
    )


@lru_cache(maxsize=1024)
def set_local(settings: Settings) -> str:
    """Return statements that do the same without parameters, for one message with BEGIN.

    PostgreSQL neither plans them nor returns rows, unlike ``set_config`` in a SELECT.
    """
    customer, role = map(_literal, settings)
    return f"SET LOCAL {CUSTOMER_SETTING} = {customer}; SET LOCAL {ROLE_SETTING} = {role}"


def _literal(text: str) -> str:
    """Return an SQL string in which only ASCII letters and digits are not escaped.

    So no setting of the server, no encoding of the client and no placeholder of a driver can change
    its meaning.
    """
    return "E'" + _UNLIKE_ITSELF.sub(lambda each: f"\\U{ord(each[0]):08x}", text) + "'"
