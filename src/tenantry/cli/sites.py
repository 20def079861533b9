"""``tenantry cache``: the sites of the AI cache."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tenantry.base.sizes import readable
from tenantry.cli import (
    cache_usage,
    limits,
    naming,
    output,
    site_backups,
    site_whitelist,
    streams,
    times,
)
from tenantry.cli.asking import confirm
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding_sites import Named, find

app = typer.Typer(
    help="Sites of the AI cache: a Redis each, with its own memory, users and port.",
    no_args_is_help=True,
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_MIB = 1024 * 1024
app.command("report")(cache_usage.report)
app.command("judge")(cache_usage.judge)
app.command("certify")(cache_usage.certify)
app.command("backup")(site_backups.backup)
app.command("backups")(site_backups.backups)
app.command("restore")(site_backups.restore)
app.command("delete-backup")(site_backups.delete_backup)
app.add_typer(cache_usage.prices, name="prices")
app.add_typer(site_whitelist.app, name="whitelist")


Memory = Annotated[
    int | None,
    typer.Option(
        parser=limits.parse_mebibytes,
        metavar="SIZE",
        help="The most memory: 64MB. Default: the plan's, shared at most 4MB.",
    ),
]
MaxClients = Annotated[
    int | None, typer.Option(help="The most connections. Default: the plan's, shared at most 20.")
]
Evicts = Annotated[
    str | None, typer.Option(help="What goes when it is full. At first volatile-lru.")
]
Persists = Annotated[
    Literal["none", "aof"] | None,
    typer.Option(help="Whether keys survive a restart. At first none."),
]
Mode = Annotated[
    Literal["off", "exact", "shadow", "on"] | None,
    typer.Option(help="How the AI cache finds answers. At first exact."),
]
_COLUMNS: dict[str, output.Cell] = {
    "NAME": "name",
    "STATUS": "status",
    "MEMORY": lambda row: readable(row["memory_mb"] * _MIB),
    "CACHE": "semantic",
    "REDIS": "redis_url",
    "AGE": lambda row: times.distance(row["created_at"]),
    "ID": "id",
}
_KEYS: dict[str, output.Cell] = {
    "KEY": "key",
    "TYPE": "type",
    "SIZE": lambda row: readable(row["bytes"]),
    "EXPIRES IN": lambda row: None if row["ttl_seconds"] is None else f"{row['ttl_seconds']} s",
}


@app.command()
def create(
    called: naming.Argument = None,
    *,
    name: Annotated[str | None, typer.Option(help="Its name: letters, digits, hyphens.")] = None,
    memory: Memory = None,
    max_clients: MaxClients = None,
    eviction: Evicts = None,
    persistence: Persists = None,
    semantic: Mode = None,
    isolation: Annotated[
        Literal["dedicated", "shared"] | None,
        typer.Option(help="Whether it has a Redis of its own. At first dedicated."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Who may reach its Redis. Default: everybody."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a site, whose connection string and API key are shown once.

    Examples:

        tenantry cache create shop --memory 64MB

        tenantry cache create notes --isolation shared
    """
    said: dict[str, object] = {
        "name": naming.required(called, name),
        "memory_mb": memory,
        "max_clients": max_clients,
        "eviction": eviction,
        "persistence": persistence,
        "semantic": semantic,
        "isolation": isolation,
        "networks": allow,
    }
    wanted = {field: value for field, value in said.items() if value is not None}
    with connect() as api:
        made = api.post("/api/sites", wanted)
    if as_json:
        output.as_json(made)
        return
    output.done(f"The site “{made['name']}” is made")
    output.facts(_facts(made))
    site_whitelist.note_closed(made)
    _note_embedder(semantic)
    _show_secrets(made)


@app.command("list")
def list_sites(as_json: Json = False) -> None:
    """List sites.

    Example:

        tenantry cache list
    """
    with connect() as api:
        page = api.rows("/api/sites")
    output.listing(
        page,
        _COLUMNS,
        empty="There is no site. `tenantry cache create NAME` makes one.",
        in_json=as_json,
        spare=("ID", "AGE", "REDIS"),
    )


@app.command()
def show(site: Named, as_json: Json = False) -> None:
    """Show a site, without its secrets.

    Example:

        tenantry cache show shop
    """
    with connect() as api:
        row = find(api, site)
    if as_json:
        output.as_json(row)
        return
    output.facts([*_facts(row), ("redis", row["redis_url"])])
    site_whitelist.note_closed(row)


@app.command()
def update(
    site: Named,
    *,
    memory: Memory = None,
    max_clients: MaxClients = None,
    eviction: Evicts = None,
    persistence: Persists = None,
    semantic: Mode = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help='Who may reach its Redis, instead of the present; "": everybody.',
        ),
    ] = None,
    new_name: Annotated[str | None, typer.Option(help="The name it shall have.")] = None,
    as_json: Json = False,
) -> None:
    """Change a site. Its Redis goes on, and its secrets stay.

    Examples:

        tenantry cache update shop --semantic shadow

        tenantry cache update shop --memory 128MB --allow 203.0.113.7
    """
    said: dict[str, object] = {
        "name": new_name,
        "memory_mb": memory,
        "max_clients": max_clients,
        "eviction": eviction,
        "persistence": persistence,
        "semantic": semantic,
        "networks": None if allow is None else [each for each in allow if each],
    }
    changes = {field: value for field, value in said.items() if value is not None}
    if not changes:
        raise typer.BadParameter("say what to change: see `tenantry cache update --help`.")
    with connect() as api:
        row = api.patch(f"/api/sites/{find(api, site)['id']}", changes)
    if as_json:
        output.as_json(row)
        return
    output.done(f"The site {row['name']} is changed")
    output.facts(_facts(row))
    site_whitelist.note_closed(row)
    _note_embedder(semantic)


@app.command()
def stats(site: Named, as_json: Json = False) -> None:
    """Show what a site holds, and what its Redis has done since it started.

    Example:

        tenantry cache stats shop
    """
    with connect() as api:
        found = api.get(f"/api/sites/{find(api, site)['id']}/stats")
    if as_json:
        output.as_json(found)
        return
    of = readable(found["memory_limit_bytes"])
    output.facts(
        [
            ("server", found["server"]),
            ("memory", f"{readable(found['memory_bytes'])} of {of}"),
            ("process", readable(found["process_bytes"])),
            ("keys", f"{found['keys']:,}"),
            ("clients", f"{found['clients']:,} of {found['max_clients']:,}"),
            *_counted(found),
            ("runs since", f"{found['uptime_seconds']:,} s"),
        ]
    )


@app.command()
def proxy(
    site: Named,
    *,
    openai_url: Annotated[
        str | None, typer.Option(metavar="URL", help='Of OpenAI\'s form; "": the default.')
    ] = None,
    openai_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, in a file; -: standard input.")
    ] = None,
    anthropic_url: Annotated[
        str | None, typer.Option(metavar="URL", help='Of Anthropic\'s form; "": the default.')
    ] = None,
    anthropic_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, in a file; -: standard input.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=0, help="The most to providers; 0: no limit.")
    ] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option(min=0, help="The most of a day in UTC; 0: no limit.")
    ] = None,
    most_temperature: Annotated[
        float | None,
        typer.Option(min=0, max=2, help="Requests with a higher one are not cached. At first 1."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the providers behind a site's proxy, or change them.

    Example:

        tenantry cache proxy shop --openai-key - < key.txt
    """
    said: dict[str, object] = {
        name: value or None
        for name, value in (
            ("openai_url", openai_url),
            ("anthropic_url", anthropic_url),
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_day", tokens_per_day),
        )
        if value is not None
    }
    said |= {
        name: _key_in(path)
        for name, path in (("openai_key", openai_key), ("anthropic_key", anthropic_key))
        if path is not None
    }
    said |= {} if most_temperature is None else {"most_temperature": most_temperature}
    with connect() as api:
        url = f"/api/sites/{find(api, site)['id']}/proxy"
        found = api.patch(url, said) if said else api.get(url)
    if as_json:
        output.as_json(found)
        return
    output.facts([(name.replace("_", " "), value) for name, value in found.items()])


@app.command()
def rotate(
    site: Named,
    *,
    only: Annotated[
        Literal["password", "api_key"] | None,
        typer.Option(help="Only this one. Default: both."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replace the Redis password and the API key of a site: the former ones end at once.

    Example:

        tenantry cache rotate shop --only password
    """
    with connect() as api:
        row = find(api, site)
        made = api.post(f"/api/sites/{row['id']}/rotate", {"secrets": only or "all"})
    if as_json:
        output.as_json(made)
        return
    output.done(f"The site {made['name']} has new secrets")
    _show_secrets(made, password=only != "api_key")


@app.command()
def keys(
    site: Named,
    *,
    match: Annotated[str, typer.Option(metavar="PATTERN", help="As SCAN has it.")] = "*",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List keys of a site, in no order, by a pattern that follows its prefix.

    Example:

        tenantry cache keys shop --match "product:*"
    """
    with connect() as api:
        path = f"/api/sites/{find(api, site)['id']}/keys"
        page = api.rows(path, limit=limit, match=match)
    if as_json:
        output.as_json(page.rows)
        return
    output.table(page.rows, _KEYS, empty="It has no such key.")


@app.command()
def flush(site: Named, *, yes: Yes = False, as_json: Json = False) -> None:
    """Delete all keys of a site.

    Asks on a terminal; otherwise --yes is required.

    Example:

        tenantry cache flush shop --yes
    """
    with connect() as api:
        row = find(api, site)
        if not yes:
            confirm(f"Delete all keys of the site {row['name']}?", as_json=as_json)
        done = api.post(f"/api/sites/{row['id']}/flush")
    if as_json:
        output.as_json(done)
        return
    output.done(f"The site {row['name']} is empty")


@app.command()
def delete(site: Named, *, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a site with all its keys.

    Asks on a terminal; otherwise --yes is required.

    Example:

        tenantry cache delete shop --yes
    """
    with connect() as api:
        row = find(api, site)
        if not yes:
            confirm(f"Delete the site {row['name']} with all its keys?", as_json=as_json)
        gone = api.delete(f"/api/sites/{row['id']}")
    if as_json:
        output.as_json(gone)
        return
    output.done(f"The site {row['name']} is deleted")


def _key_in(path: Path) -> str:
    """Return a provider's key: command lines are visible to other users of the machine."""
    hint = "Name a file with the key and nothing else, or - for standard input."
    return streams.text(path, "The key", hint=hint).strip()


def _note_embedder(semantic: str | None) -> None:
    if semantic in {"shadow", "on"}:
        output.note(
            "An embedder compares the questions. Where none is installed, run"
            " ./tenantry install-embedder in the folder of the code."
        )


def _facts(row: Row) -> list[tuple[str, object]]:
    return [
        ("id", row["id"]),
        ("status", row["status"]),
        ("memory", readable(row["memory_mb"] * _MIB)),
        ("connections", f"{row['max_clients']:,}"),
        ("eviction", row["eviction"]),
        ("persistence", row["persistence"]),
        ("cache", row["semantic"]),
        ("cache url", row["cache_url"]),
        ("isolation", row["isolation"]),
        ("keys begin with", row["key_prefix"]),
        ("allowlist", row["networks"] or None),
        ("reached from", str(row["reached_from"]).replace("_", " ")),
    ]


def _counted(stats: Row) -> list[tuple[str, Any]]:
    """Return what a Redis has counted; the shared one counts it for all its sites."""
    if stats["commands"] is None:
        return []
    return [
        ("commands", f"{stats['commands']:,}"),
        ("hits", f"{stats['hits']:,}, misses {stats['misses']:,}"),
        ("evicted", f"{stats['evicted_keys']:,}, expired {stats['expired_keys']:,}"),
    ]


def _show_secrets(row: Row, *, password: bool = True) -> None:
    shown: list[tuple[str, Any]] = [("redis url", row["redis_url"])] if password else []
    shown += [("API key  ", row["api_key"])] if row["api_key"] else []
    for at, (label, text) in enumerate(shown, start=1):
        output.secret(label, text, last=at == len(shown), several=len(shown) > 1)
