"""``tenantry customer``, and naming customers: a mistyped address must not become a new one."""

import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from tenantry.base.errors import NotFound
from tenantry.base.ids import parse_id
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import output, times
from tenantry.cli.client import Api, ApiError, Row, connect
from tenantry.cli.entry_point import Json

app = typer.Typer(
    help="Customers: list, show, update, remove. For administrators. One is created with the first"
    " database, user or key that names it.",
    no_args_is_help=True,
)

Whose = Annotated[
    str,
    typer.Argument(metavar="CUSTOMER", help="The e-mail address, or the id.", show_default=False),
]

NewCustomer = Annotated[
    bool,
    typer.Option("--new-customer", help="Create the customer if there is none of this address."),
]

_COLUMNS: dict[str, output.Cell] = {
    "E-MAIL": "email",
    "PLAN": "plan",
    "DATABASES": "databases",
    "USERS": "users",
    "KEYS": "api_keys",
    "BACKUPS": "backups",
    "AGE": lambda row: times.distance(row["created_at"]),
    "ID": "id",
}
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


@app.command("list")
def list_customers(
    search: Annotated[
        str | None, typer.Option(help="Only those with this text in the address.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Without a limit.")] = False,
    as_json: Json = False,
) -> None:
    """List customers with how much each has, newest first.

    Example:

        tenantry customer list --search example.com
    """
    with connect() as api:
        page = api.rows("/api/customers", limit=None if everything else limit, search=search)
    output.listing(
        page,
        _COLUMNS,
        empty="There is no such customer." if search else "There is no customer.",
        in_json=as_json,
        first="newest",
        spare=("ID", "AGE"),
    )


@app.command()
def show(customer: Whose, as_json: Json = False) -> None:
    """Show what a customer has.

    Example:

        tenantry customer show ann@example.com
    """
    with connect() as api:
        row = _find(api, customer)
    if as_json:
        output.as_json(row)
        return
    output.facts(
        [
            ("id", row["id"]),
            ("e-mail", row["email"]),
            ("plan", row["plan"]),
            ("databases", row["databases"]),
            ("users", row["users"]),
            ("API keys", row["api_keys"]),
            ("backups", row["backups"]),
            ("sites", row.get("sites")),
            ("open operations", row["operations"]),
            ("since", row["created_at"]),
        ]
    )


@app.command()
def update(
    customer: Whose,
    *,
    plan: Annotated[
        str, typer.Option(help="Its plan, for the sizes of what it creates from now on.")
    ],
    as_json: Json = False,
) -> None:
    """Give a customer another pricing plan; what it has stays as it is.

    Example:

        tenantry customer update ann@example.com --plan premium
    """
    with connect() as api:
        row = api.patch(f"/api/customers/{_find(api, customer)['id']}", {"plan": plan})
    if as_json:
        output.as_json(row)
        return
    output.done(f"The customer {row['email']} has the plan {row['plan']}")


@app.command()
def remove(customer: Whose, as_json: Json = False) -> None:
    """Remove a customer that has no databases, users, valid API keys or backups.

    Example:

        tenantry customer remove ann@example.com
    """
    with connect() as api:
        row = _find(api, customer)
        removed = api.delete(f"/api/customers/{row['id']}")
    if as_json:
        output.as_json(removed)
        return
    output.done(f"The customer {row['email']} is removed")


def _find(api: Api, text: str) -> Row:
    if parse_id(text):
        row: Row = api.get(f"/api/customers/{text}")
        return row
    for found in api.rows("/api/customers", email=text).rows:
        return found
    names = [str(each["email"]) for each in api.rows("/api/customers").rows]
    raise NotFound(
        f"There is no customer {text}.",
        hint=did_you_mean(text, names) or "`tenantry customer list` shows them.",
    )
