"""Customers, named by their e-mail address: a mistyped one must not become a new customer."""

import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from tenantry.cli import output
from tenantry.cli.client import ApiError, Row

NewCustomer = Annotated[
    bool,
    typer.Option("--new-customer", help="Create the customer if there is none of this address."),
]

_FIELDS = {"owner_email", "customer_email"}


def send(request: Callable[[Row], Row], wanted: Mapping[str, object], *, new: bool) -> Row:
    """Send a request that may name a customer, and return the answer.

    Without ``new``, an address that no customer has is asked about on a terminal. Elsewhere it
    raises ApiError with the code unknown_customer, and nothing is created.
    """
    if new or not _FIELDS & wanted.keys():
        return request({**wanted})
    try:
        return request({**wanted, "new_customer": False})
    except ApiError as error:
        if error.problem.get("code") != "unknown_customer" or not sys.stdin.isatty():
            raise
        for wrong in error.fields:
            output.note(wrong.message, style="bold")
    typer.confirm("Create this customer?", abort=True, err=True)
    return request({**wanted})
