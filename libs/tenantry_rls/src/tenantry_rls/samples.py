"""Rows of two invented customers, made from the catalog's description of the columns.

A row is made together with those that it must refer to. If one cannot be made (a check with values
that cannot be guessed, a missing privilege), this is reported, not worked around.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count, islice, product
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import Connection, sql
from psycopg.rows import dict_row

from tenantry_rls.catalog import Catalog, Check, Column, Relation
from tenantry_rls.context import CUSTOMER_SETTING, ROLE_SETTING

Row = dict[str, Any]

_LITERAL = re.compile(r"'((?:[^']|'')*)'::")
_BOUND = re.compile(r"<=? (\d+)\b")
_ADDRESS = re.compile("mail", re.IGNORECASE)
_FIXED = {
    "bool": "true",
    "date": "today",
    "time": "12:00",
    "timetz": "12:00Z",
    "timestamp": "now",
    "timestamptz": "now",
    "interval": "1 day",
    "json": "{}",
    "jsonb": "{}",
    "bytea": "",
    "inet": "192.0.2.1",
    "cidr": "192.0.2.0/24",
    "macaddr": "00:00:5e:00:53:00",
    "xml": "<x/>",
    "bit": "1",
}
_BY_CATEGORY = {"A": "{}", "R": "empty"}  # arrays, ranges
_MOST_TRIED = 64  # combinations of the possible values of a table's columns
_SHORT = 12  # characters, in which eight random ones do not fit
# Beyond what sequences have reached, within each type.
_HIGH = {"int2": 32_000, "int4": 2_147_400_000, "int8": 9_223_372_036_854_000_000}


class CannotMake(Exception):
    """No row of that table can be made here; the message says why."""


class Samples:
    """Makes rows in an open transaction, which the caller rolls back."""

    def __init__(self, conn: Connection[Any], catalog: Catalog) -> None:
        self._conn = conn
        self._catalog = catalog
        self._numbers = count(1)
        self._chosen: dict[int, dict[str, str]] = {}  # by table, then by column
        self._made: dict[tuple[int, str], Row | CannotMake] = {}

    def customer_id(self) -> str:
        """Return the id of a customer who does not exist, of the column's type."""
        columns = [
            self._catalog.columns[oid][tenant.column]
            for oid, tenant in self._catalog.tenants.items()
            if tenant.how == "column"
        ]
        narrowest = min(columns, key=lambda column: column.length or 1000)
        return str(self._unique(narrowest))

    def row(self, table: Relation, customer: str) -> Row:
        """Return a row of that customer, made if there is none yet. Raises CannotMake."""
        key = (table.oid, customer)
        if key not in self._made:
            self._made[key] = CannotMake(f"{table.label} must refer to itself.")
            try:
                self._made[key] = self._make(table, customer)
            except CannotMake as reason:
                self._made[key] = self._there_already(table) or reason
        made = self._made[key]
        if isinstance(made, CannotMake):
            raise made
        return made

    def values(self, table: Relation, customer: str) -> Row:
        """Return possible values of another row of that customer. Raises CannotMake."""
        columns = self._catalog.columns[table.oid]
        indexes = self._catalog.indexes[table.oid]
        unique = {name for index in indexes if index.unique for name in index.columns}
        found: Row = {}
        tenant = self._catalog.tenants.get(table.oid)
        if tenant and tenant.how != "reference":
            found[tenant.column] = customer
        for key in self._catalog.foreign_keys[table.oid]:
            if any(not columns[name].nullable and name not in found for name in key.columns) or (
                set(key.columns) <= found.keys()
            ):
                parent = self.row(self._catalog.relations[key.referenced], customer)
                found |= {
                    own: parent[their] for own, their in zip(key.columns, key.keys, strict=True)
                }
        for column in columns.values():
            if column.required and column.name not in found:
                found[column.name] = self._value(table, column, unique=column.name in unique)
        return found

    def insert(self, table: Relation, values: Row) -> sql.Composed:
        """Return the statement that inserts them, with named placeholders."""
        return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            table.identifier,
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Placeholder, values)),
        )

    def _make(self, table: Relation, customer: str) -> Row:
        try:
            return self._insert(table, customer)
        except psycopg.errors.CheckViolation as error:
            refused = error
        except psycopg.Error as error:
            raise _cannot(table, error) from error
        # Each column accepts its value, but a check may not accept all of them together.
        choices = {
            name: self._choices(table, column)
            for name, column in self._catalog.columns[table.oid].items()
            if column.required
        }
        several = {name: each for name, each in choices.items() if len(each) > 1}
        for chosen in islice(product(*several.values()), _MOST_TRIED):
            self._chosen[table.oid] = dict(zip(several, chosen, strict=True))
            with suppress(psycopg.errors.CheckViolation):
                return self._insert(table, customer)
        raise _cannot(table, refused)

    def _insert(self, table: Relation, customer: str) -> Row:
        """Insert a row of that customer. Raises psycopg.Error."""
        values = self.values(table, customer)
        try:
            return self._insert_as("customer", customer, table, values)
        except psycopg.Error:
            return self._insert_as("administrator", customer, table, values)

    def _there_already(self, table: Relation) -> Row | None:
        """Return an existing row of a table that is no customer's, such as one of currencies."""
        if table.oid in self._catalog.tenants:
            return None
        query = sql.SQL("SELECT * FROM {} LIMIT 1").format(table.identifier)
        try:
            with self._conn.transaction():
                return self._conn.cursor(row_factory=dict_row).execute(query).fetchone()
        except psycopg.Error:
            return None

    def _insert_as(self, role: str, customer: str, table: Relation, values: Row) -> Row:
        with self._conn.transaction():
            self._conn.execute(
                "SELECT set_config(%s, %s, true), set_config(%s, %s, true)",
                (CUSTOMER_SETTING, customer, ROLE_SETTING, role),
            )
            cursor = self._conn.cursor(row_factory=dict_row)
            made = cursor.execute(
                self.insert(table, values) + sql.SQL(" RETURNING *"), values
            ).fetchone()
            if made is None:
                raise psycopg.DataError("a trigger or a rule swallowed it")
            self._conn.execute(
                "SELECT set_config(%s, '', true), set_config(%s, '', true)",
                (CUSTOMER_SETTING, ROLE_SETTING),
            )
            return made

    def _value(self, table: Relation, column: Column, *, unique: bool) -> str:
        if choices := self._choices(table, column):
            return self._chosen.get(table.oid, {}).get(column.name, choices[0])
        if column.category == "N" and not unique:
            return "1"
        fixed = _BY_CATEGORY.get(column.category) or _FIXED.get(column.type)
        if fixed is not None and not unique:
            return fixed
        return self._unique(column, most=self._most(table, column))

    def _choices(self, table: Relation, column: Column) -> list[str]:
        """Return the values that a check of that column alone, or its type, allows."""
        checks: list[Check] = self._catalog.checks[table.oid]
        for check in checks:
            if check.columns == [column.name] and (found := _LITERAL.findall(check.definition)):
                return [each.replace("''", "'") for each in found]
        return column.labels

    def _most(self, table: Relation, column: Column) -> int | None:
        """Return the greatest number that a check of that column alone allows, if there is one."""
        checks: list[Check] = self._catalog.checks[table.oid]
        bounds = [
            int(bound)
            for check in checks
            if check.columns == [column.name]
            for bound in _BOUND.findall(check.definition)
        ]
        return min(bounds, default=None)

    def _unique(self, column: Column, *, most: int | None = None) -> str:
        number = next(self._numbers)
        if column.category == "D":
            return str(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number))
        by_type = _FIXED | {"uuid": str(uuid4()), "bytea": rf"\x{uuid4().hex}"}
        if column.type in by_type:
            return by_type[column.type]
        if column.category == "N":
            high = _HIGH.get(column.type, 1_000_000)
            return str(high + number if most is None else most - number)
        if _ADDRESS.search(column.name):
            return f"rls-{uuid4().hex[:8]}@example.com"
        if column.length and column.length < _SHORT:
            return str(number).rjust(column.length, "z")[: column.length]
        return f"rls-{uuid4().hex[:8]}"


def _cannot(table: Relation, error: psycopg.Error) -> CannotMake:
    return CannotMake(f"No row of {table.label} could be made up: {str(error).splitlines()[0]}")
