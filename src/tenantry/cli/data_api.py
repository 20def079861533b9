"""``tenantry data-api``: the REST API of a database."""

from typing import Annotated

import typer

from tenantry.cli import output, times
from tenantry.cli.client import Api, ApiError, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

app = typer.Typer(
    help="The REST API of a database, as PostgREST's and Supabase's: its settings, keys and"
    " tokens.",
    no_args_is_help=True,
)

_YEARS = 3650 * 24 * 3600
_ANON, _SERVICE = "anon", "service_role"


def _path(database: Row) -> str:
    return f"/api/databases/{database['id']}/data-api"


Schemas = Annotated[
    list[str] | None,
    typer.Option("--schema", metavar="SCHEMA", help="A schema to expose; public if none is given."),
]
Anonymous = Annotated[
    bool | None,
    typer.Option(
        "--anonymous/--no-anonymous", help="Whether requests without a token are answered."
    ),
]
Open = Annotated[
    bool | None,
    typer.Option("--open/--no-open", help="Let requests without a token write: for demos."),
]
MaxRows = Annotated[
    int | None,
    typer.Option(min=0, help="The most rows in an answer; 0: no limit. Default: 1000."),
]
Timeout = Annotated[
    int | None,
    typer.Option(min=1, metavar="MS", help="The longest that a statement runs. Default: 15000."),
]
JwksUrl = Annotated[str | None, typer.Option(help="Where public keys for further tokens are.")]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--origin", metavar="ORIGIN", help="A website that may call it; all if none is given."
    ),
]
Auth = Annotated[
    bool | None,
    typer.Option("--auth/--no-auth", help="Have the application's users sign in here."),
]
Signup = Annotated[
    bool | None, typer.Option("--signup/--no-signup", help="Whether anybody may sign up.")
]
SiteUrl = Annotated[
    str | None, typer.Option(help="The application's page to which links in e-mails lead.")
]
RedirectUrls = Annotated[
    list[str] | None,
    typer.Option("--redirect-url", metavar="URL", help="A further page for such links."),
]


@app.command()
def enable(
    database: Named,
    *,
    schema: Schemas = None,
    anonymous: Anonymous = None,
    open_: Open = None,
    max_rows: MaxRows = None,
    timeout: Timeout = None,
    jwks_url: JwksUrl = None,
    origin: Origins = None,
    auth: Auth = None,
    signup: Signup = None,
    site_url: SiteUrl = None,
    redirect_url: RedirectUrls = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Enable the REST API of a database, whose keys are shown once, or change its settings.

    What you omit keeps its value. An empty text removes what there is: `--jwks-url ""`,
    `--origin ""`, `--site-url ""`, `--redirect-url ""`.

    Example:

        tenantry data-api enable shop --schema api
    """
    said: dict[str, object] = {
        "schemas": schema,
        "anonymous": anonymous,
        "open": open_,
        "max_rows": max_rows,
        "statement_timeout_ms": timeout,
        "jwks_url": jwks_url,
        "allowed_origins": origin and [each for each in origin if each],
    }
    changes = {name: value for name, value in said.items() if value is not None}
    for name, nothing in (("max_rows", 0), ("jwks_url", "")):
        if changes.get(name) == nothing:
            changes[name] = None
    users: dict[str, object] = {
        "signup": signup,
        "site_url": site_url,
        "redirect_urls": redirect_url and [each for each in redirect_url if each],
    }
    with connect() as api:
        row = find(api, database, env)
        wanted = _present(api, row, [*said, "auth"]) | changes
        made = api.put(_path(row), wanted | {"auth": _users(wanted.get("auth"), auth, users)})
    if as_json:
        output.as_json(made)
        return
    output.done(f"The data API of {title(row)} is enabled")
    if made["open"]:
        output.note(
            "Anybody who can reach it may write, without a token, what anon may: for demos only.",
            style="yellow",
        )
    show_opened(made)


def _users(
    present: object, wanted: bool | None, changes: dict[str, object]
) -> dict[str, object] | None:
    """Return the settings of application users; None if there are to be none."""
    said = {name: value for name, value in changes.items() if value is not None}
    if wanted is False or (wanted is None and present is None and not said):
        return None
    found = {**present, **said} if isinstance(present, dict) else said
    return {name: None if value == "" else value for name, value in found.items()}


def _present(api: Api, row: Row, names: list[str]) -> dict[str, object]:
    """Return the settings of a database's API; none if it has no API."""
    try:
        found = api.get(_path(row))
    except ApiError as error:
        if error.problem.get("code") != "not_found":
            raise
        return {}
    return {name: found[name] for name in names}


@app.command()
def show(database: Named, env: In = None, as_json: Json = False) -> None:
    """Show how the REST API of a database is configured.

    Example:

        tenantry data-api show shop
    """
    with connect() as api:
        found = api.get(_path(find(api, database, env)))
    if as_json:
        output.as_json(found)
        return
    until = found["previous_keys_until"]
    output.facts(
        [
            ("url", found["rest_url"]),
            ("schemas", found["schemas"]),
            ("anonymous", found["anonymous"]),
            ("open", found["open"]),
            ("max rows", found["max_rows"]),
            ("timeout", f"{found['statement_timeout_ms']} ms"),
            ("jwks url", found["jwks_url"]),
            ("origins", found["allowed_origins"] or "all"),
            ("users' url", found["auth_url"]),
            ("users' site", found["auth"] and found["auth"]["site_url"]),
            ("sign-up", found["auth"] and found["auth"]["signup"]),
            ("keys of", times.local(found["keys_issued_at"])),
            ("earlier until", until and times.local(until)),
        ]
    )


@app.command()
def keys(database: Named, env: In = None, as_json: Json = False) -> None:
    """Make the two long-lived keys again, anon and service_role; those in use stay valid.

    Example:

        tenantry data-api keys shop
    """
    with connect() as api:
        row = find(api, database, env)
        made = {
            "anon_key": _token(api, row, _ANON, None, _YEARS)["token"],
            "service_role_key": _token(api, row, _SERVICE, None, _YEARS)["token"],
        }
    if as_json:
        output.as_json(made)
        return
    output.secret("anon key        ", made["anon_key"], last=False)
    output.secret("service_role key", made["service_role_key"], several=True)


@app.command()
def rotate(
    database: Named,
    *,
    overlap: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="How long the present keys stay valid.")
    ] = 24 * 3600,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Replace the secret and the keys of the REST API of a database; they are shown once.

    Example:

        tenantry data-api rotate shop --overlap 3600
    """
    with connect() as api:
        row = find(api, database, env)
        made = api.post(f"{_path(row)}/rotate", {"overlap_seconds": overlap})
    if as_json:
        output.as_json(made)
        return
    output.done(f"The data API of {title(row)} has new keys")
    show_opened(made)


@app.command()
def token(
    database: Named,
    *,
    sub: Annotated[str | None, typer.Option(help="Who it is for: the claim sub.")] = None,
    role: Annotated[str, typer.Option(help="The role that it selects.")] = "authenticated",
    expires: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="How long it is valid.")
    ] = 3600,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Make a token for requests, and print it.

    Example:

        tenantry data-api token shop --sub ann
    """
    with connect() as api:
        made = _token(api, find(api, database, env), role, sub, expires)
    if as_json:
        output.as_json(made)
        return
    output.line(made["token"])


@app.command()
def disable(database: Named, env: In = None, as_json: Json = False) -> None:
    """Disable the REST API of a database: all its keys and tokens become invalid.

    Example:

        tenantry data-api disable shop
    """
    with connect() as api:
        row = find(api, database, env)
        answer = api.delete(_path(row))
    if as_json:
        output.as_json(answer)
        return
    output.done(f"The data API of {title(row)} is disabled")


def _token(api: Api, database: Row, role: str, sub: str | None, seconds: int) -> Row:
    wanted: dict[str, object] = {"role": role, "expires_in_seconds": seconds}
    if sub is not None:
        wanted["sub"] = sub
    made: Row = api.post(f"{_path(database)}/tokens", wanted)
    return made


def show_opened(made: Row) -> None:
    """Show where a data API is, and its keys if they are new."""
    output.facts([("url", made["rest_url"]), ("users' url", made["auth_url"])])
    if made["jwt_secret"] is None:
        return
    output.secret("secret          ", made["jwt_secret"], last=False)
    output.secret("anon key        ", made["anon_key"], last=False)
    output.secret("service_role key", made["service_role_key"], several=True)
