"""The schema cache, read from a database."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import psycopg

from tenantry_rest.catalog import queries
from tenantry_rest.catalog.fetching import Connection, fetch
from tenantry_rest.config import Config, override
from tenantry_rest.schema.model import (
    ANY_ELEMENT,
    Column,
    Computed,
    Function,
    Handler,
    Name,
    Parameter,
    RoleSettings,
    Schema,
    Table,
)
from tenantry_rest.schema.relationships import ForeignKey, ViewColumns, all_relationships
from tenantry_rest.schema.views import base_columns, origins

Row = Sequence[Any]
WITH_PARAMETER_PRIVILEGES = 150000  # PostgreSQL's version


Aside = Callable[[Callable[[], Schema]], Awaitable[Schema]]


async def load_schema(
    connection: Connection,
    config: Config,
    excluded: Collection[str] = (),
    *,
    aside: Aside = asyncio.to_thread,
) -> Schema:
    """Read the schema cache, in one transaction and one round trip.

    ``excluded`` are roles whose settings do not apply to requests: those that others can set.
    ``aside`` runs what computes it from the rows: a large schema takes seconds, and other requests
    go on meanwhile.

    Raises:
        psycopg.Error: the database does not answer, or forbids it.
        ApiError: PGRST002, the schema is too large.
    """
    exposed = list(config.db_schemas)
    searched = [*exposed, *config.db_extra_search_path]
    privileged = connection.info.server_version >= WITH_PARAMETER_PRIVILEGES
    roles = queries.ROLE_SETTINGS.format(privileged=queries.PRIVILEGED if privileged else "")
    wanted: list[tuple[str, list[object]]] = [
        (queries.TABLES, []),
        (queries.COLUMNS, []),
        (queries.FOREIGN_KEYS, []),
        (queries.VIEWS, []),
        (queries.COMPUTED, []),
        (queries.FUNCTIONS, [exposed, list(config.db_hoisted_tx_settings)]),
        (queries.REPRESENTATIONS, []),
        (queries.HANDLERS, [searched]),
        (roles, [list(excluded)]),
    ]
    rows = await fetch(connection, wanted)
    return await aside(partial(_schema, rows, config))


def _schema(rows: list[list[Any]], config: Config) -> Schema:
    tables, columns, keys, views, computed, functions, casts, handlers, role_rows = rows
    exposed = list(config.db_schemas)
    names = {row[0]: Name(row[1], row[2]) for row in tables}
    numbered = {(row[0], row[1]): row[2] for row in columns}
    found = _tables(tables, columns, names)
    shown = _view_columns(views, names, numbered)
    for name, table in found.items():
        if table.is_view:
            key = shown.key_of(name, found)
            found[name] = replace(table, key=key)
    related = all_relationships(
        _foreign_keys(keys, names, numbered),
        shown,
        found,
        (_computed(row) for row in computed),
        exposed,
    )
    return Schema(
        {name: table for name, table in found.items() if name.schema in exposed},
        related,
        group_functions(functions),
        {(source, target): function for source, target, function in casts},
        _handlers(handlers),
        _roles(role_rows),
    )


async def load_config(connection: Connection, config: Config) -> Config:
    """The settings with those of the database in their place."""
    if not config.db_config:
        return config
    statements: list[tuple[str, list[object]]] = []
    if config.db_pre_config:
        function = psycopg.sql.Identifier(*config.db_pre_config.split(".", 1))
        called = psycopg.sql.SQL("SELECT {}()").format(function).as_string(connection)
        statements.append((called, []))
    statements.append((queries.DATABASE_SETTINGS, []))
    if config.db_pre_config:
        options = [each.name for each in fields(Config)]
        statements.append((queries.TRANSACTION_SETTINGS, [options]))
    rows = (await fetch(connection, statements))[1 if config.db_pre_config else 0 :]
    found = {}
    for name, value, _ in (row for some in rows for row in some):
        option = name.removeprefix("pgrst.")
        key = "app.settings." + option[13:] if option.startswith("app_settings_") else option
        found[key if key.startswith("app.") else key.replace("_", "-")] = value
    fixed = {"db-uri", "db-config", "db-pool", "server-host", "server-port"}
    return override(config, {key: value for key, value in found.items() if key not in fixed})


def _tables(tables: list[Row], columns: list[Row], names: dict[int, Name]) -> dict[Name, Table]:
    of: dict[int, dict[str, Column]] = {}
    for oid, _, name, description, nullable, kind, nominal, length, default, enum in columns:
        of.setdefault(oid, {})[name] = Column(
            name, description, nullable, kind, nominal, length, default, tuple(enum)
        )
    found = {}
    for oid, _, _, description, is_view, insertable, updatable, deletable, key in tables:
        name = names[oid]
        found[name] = Table(
            name,
            description,
            is_view,
            insertable,
            updatable,
            deletable,
            tuple(key),
            of.get(oid, {}),
        )
    return found


def _view_columns(
    views: list[Row], names: dict[int, Name], numbered: dict[tuple[int, int], str]
) -> ViewColumns:
    trees = {oid: origins(tree) for oid, tree in views}
    shown = ViewColumns()
    for view in trees:
        for number, (table, column) in base_columns(view, trees):
            if view in names and table in names:
                base = numbered[table, column]
                shown.add(names[view], numbered[view, number], names[table], base)
    return shown


def _foreign_keys(
    keys: list[Row], names: dict[int, Name], numbered: dict[tuple[int, int], str]
) -> Iterable[ForeignKey]:
    for constraint, table, foreign, columns, others, one_to_one in keys:
        if table in names and foreign in names:
            pairs = tuple(
                (numbered[table, own], numbered[foreign, other])
                for own, other in zip(columns, others, strict=True)
            )
            yield ForeignKey(constraint, names[table], names[foreign], pairs, one_to_one)


def _computed(row: Row) -> Computed:
    return Computed(Name(*row[2:4]), Name(*row[4:6]), Name(*row[0:2]), row[6])


def group_functions(rows: Iterable[Row]) -> dict[Name, list[Function]]:
    """The functions by name; those with fewer parameters first, as PostgREST lists them."""
    found: dict[Name, list[Function]] = {}
    kinds = {"v": "volatile", "s": "stable", "i": "immutable"}
    for row in rows:
        name = Name(row[0], row[1])
        settings = dict(each.partition("=")[::2] for each in row[9])
        isolation = settings.pop("default_transaction_isolation", None)
        function = Function(
            name,
            row[2],
            tuple(Parameter(*each) for each in row[3]),
            Name(row[4], row[5]),
            row[6],
            row[7],
            kinds[row[8]],
            isolation,
            tuple(settings.items()),
        )
        found.setdefault(name, []).append(function)
    for overloaded in found.values():
        overloaded.sort(key=_order)
    return found


def _order(function: Function) -> tuple[int, str, list[tuple[str, str, str, bool, bool]]]:
    parameters = [
        (each.name, each.type, each.cast, each.required, each.variadic)
        for each in function.parameters
    ]
    return len(parameters), function.description or "", parameters


def _handlers(rows: list[Row]) -> dict[tuple[Name, str], Handler]:
    found = {}
    for schema, name, target_schema, target, media, shown in rows:
        function = Name(schema, name) if name is not None else None
        of = ANY_ELEMENT if target == ANY_ELEMENT.name else Name(target_schema, target)
        resolved = "application/octet-stream" if media == "*/*" else shown
        found[of, media] = Handler(function, resolved)
    return found


def _roles(rows: list[Row]) -> dict[str, RoleSettings]:
    found: dict[str, dict[str, str]] = {}
    for role, setting in rows:
        key, _, value = setting.partition("=")
        found.setdefault(role, {})[key] = value
    return {
        role: RoleSettings(
            tuple(each for each in settings.items() if each[0] != "default_transaction_isolation"),
            settings.get("default_transaction_isolation"),
        )
        for role, settings in found.items()
    }
