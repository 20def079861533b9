"""Attempts, as one customer, to reach the rows of another.

Everything happens in a transaction that the caller rolls back, and each attempt in a savepoint of
its own. *Refused* means that PostgreSQL refuses it or finds nothing; *crossed* that it reaches the
other customer's row; otherwise it counts as *not tried*.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection, sql

from tenantry_rls.catalog import Catalog, Function, Relation, TenantTable
from tenantry_rls.context import CUSTOMER_SETTING, ROLE_SETTING
from tenantry_rls.report import Attempt, Outcome
from tenantry_rls.samples import CannotMake, Samples

# Errors by which a policy without a context refuses: an empty id, or a setting that was never set.
_NOBODY = (psycopg.errors.InvalidTextRepresentation, psycopg.errors.UndefinedObject)
_REFUSALS = (psycopg.errors.InsufficientPrivilege, psycopg.errors.GeneratedAlways)
_LONGEST = 10_000  # milliseconds for one attempt
_LARGEST = 10_000  # rows of a table that is written to without a condition
_STOPPED = "The policies let it through; a constraint stopped it."

_SETTING = re.compile(r"current_setting\('app\.current_\w+'::text, true\)")

Reader = tuple[str, sql.Composed, tuple[str, ...]]  # of what, the query, its parameters


class Attempts:
    """The attempts on one database, as the role that the catalog was read for."""

    def __init__(self, conn: Connection[Any], catalog: Catalog) -> None:
        self._conn = conn
        self._catalog = catalog
        self._samples = Samples(conn, catalog)
        self._done: list[Attempt] = []

    def make(self) -> list[Attempt]:
        """Make all attempts. Raises psycopg.Error if the connection itself fails."""
        self._conn.execute(f"SET LOCAL statement_timeout = {_LONGEST}".encode())
        self._conn.execute("SET LOCAL lock_timeout = 2000")
        ann, bob, zoe = (self._samples.customer_id() for _ in range(3))  # Zoe has no rows
        tenants = [each for each in self._catalog.tenants.values() if each.relation.kind != "f"]
        for tenant in tenants:
            self._have(tenant, ann)
        alone = self._read_all(ann, bob)
        steady = self._read_all(ann, bob)
        for tenant in tenants:
            if reason := self._have(tenant, bob):
                self._report(tenant.relation.label, "all", "not tried", reason)
            else:
                self._on_table(tenant, ann, bob, zoe)
        for name, before in alone.items():
            self._compare(name, before, steady.get(name), self._read_all(ann, bob, only=name))
        for view in self._catalog.views():
            if self._catalog.column in self._catalog.columns[view.oid] and view.kind == "v":
                self._on_view(view, ann, bob)
        return self._done

    def _have(self, tenant: TenantTable, customer: str) -> str | None:
        """Ensure that the customer has a row; return the reason if that is impossible."""
        try:
            self._samples.row(tenant.relation, customer)
        except CannotMake as reason:
            return str(reason)
        return None

    # ── tables ───────────────────────────────────────────────────────────────────

    def _on_table(self, tenant: TenantTable, ann: str, bob: str, zoe: str) -> None:
        table, may = tenant.relation, tenant.relation.privileges
        try:
            own = self._samples.row(table, ann)[tenant.column]
            others = self._samples.row(table, bob)[tenant.column]
        except CannotMake as reason:
            self._report(table.label, "all", "not tried", str(reason))
            return
        # A row without a customer belongs to no one, and may be meant for all customers.
        everybodys = sql.SQL("SELECT FROM {} WHERE {} IS NOT NULL LIMIT 1").format(
            table.identifier, sql.Identifier(tenant.column)
        )
        if "SELECT" in may:
            self._try(table.label, "SELECT without a context", everybodys, (), customer=None)
            self._own_is_seen(tenant, ann, own)
        self._read_and_write(table, tenant.column, own, others, ann)
        self._before_any_context(tenant, ann, own)
        if "INSERT" in may:
            self._insert_for(tenant, ann, bob)
        if self._catalog.columns[table.oid][tenant.column].nullable:
            self._give_to_nobody(tenant, ann, own)
        if table.rows <= _LARGEST:
            self._write_blindly(tenant, others, ann, zoe)
        else:
            many = f"It has more than {_LARGEST} rows; try it on a copy with fewer."
            self._report(table.label, "UPDATE and DELETE without a condition", "not tried", many)

    def _read_and_write(
        self, relation: Relation, column: str, own: object, others: object, ann: str
    ) -> None:
        label, may = relation.label, relation.privileges
        names = {"relation": relation.identifier, "column": sql.Identifier(column)}
        if "SELECT" in may:
            query = sql.SQL("SELECT FROM {relation} WHERE {column} = %s").format(**names)
            self._try(label, "SELECT of another's", query, (others,), customer=ann)
            self._copy(label, names, others, ann)
        if "UPDATE" in may:
            touch = sql.SQL("UPDATE {relation} SET {free} = {free} WHERE {column} = %s")
            touch_its = touch.format(**names, free=self._free(relation))
            self._try(label, "UPDATE of another's", touch_its, (others,), customer=ann)
            move = sql.SQL("UPDATE {relation} SET {column} = %s WHERE {column} = %s")
            action = "UPDATE giving one's own away"
            self._try(label, action, move.format(**names), (others, own), customer=ann)
        if "DELETE" in may:
            query = sql.SQL("DELETE FROM {relation} WHERE {column} = %s").format(**names)
            self._try(label, "DELETE of another's", query, (others,), customer=ann)

    def _write_blindly(self, tenant: TenantTable, others: object, ann: str, zoe: str) -> None:
        """Without a condition only the policies of the command apply, not those of SELECT."""
        table, may = tenant.relation, tenant.relation.privileges
        names = {"table": table.identifier, "column": sql.Identifier(tenant.column)}
        if "DELETE" in may:
            delete = sql.SQL("DELETE FROM {table}").format(**names)
            self._try(table.label, "DELETE without a condition", delete, (), customer=zoe)
        if "UPDATE" in may:
            # NULL reads no column, and where it is not allowed, the error shows that a row was
            # reached.
            clear = sql.SQL("UPDATE {table} SET {free} = NULL").format(
                **names, free=self._free(table)
            )
            action = "UPDATE without a condition"
            if self._try(table.label, action, clear, (), customer=zoe) == "refused":
                give = sql.SQL("UPDATE {table} SET {column} = %s").format(**names)
                action = "UPDATE without a condition, giving one's own away"
                self._try(table.label, action, give, (others,), customer=ann)

    def _free(self, relation: Relation) -> sql.Identifier:
        """Return a column that the role may set, if it may set any."""
        columns = [each for each in self._catalog.columns[relation.oid].values() if not each.always]
        return sql.Identifier(max(columns, key=lambda each: each.updatable).name)

    def _own_is_seen(self, tenant: TenantTable, ann: str, own: object) -> None:
        """Check that a customer sees its own row: otherwise refusals would prove nothing."""
        query = sql.SQL("SELECT FROM {} WHERE {} = %s").format(
            tenant.relation.identifier, sql.Identifier(tenant.column)
        )
        with self._acting(ann):
            try:
                seen = self._conn.execute(query, (own,)).rowcount
            except psycopg.Error as error:
                self._report(
                    tenant.relation.label, "SELECT of one's own", "not tried", _said(error)
                )
                return
        if not seen:
            reason = "A customer does not see its own row, so that refusals prove little."
            self._report(tenant.relation.label, "SELECT of one's own", "not tried", reason)

    def _before_any_context(self, tenant: TenantTable, ann: str, own: object) -> None:
        """Check whether a policy admits this customer's row where no setting was ever made.

        In this session they were, and are "" at least. So each policy is evaluated with NULL in
        their place.
        """
        for policy in self._catalog.policies[tenant.relation.oid]:
            for part in (policy.using, policy.check):
                unset = _SETTING.sub("NULL::text", part or "")
                if policy.permissive and policy.applies and unset != (part or ""):
                    query = sql.SQL("SELECT FROM {} WHERE {} = %s AND (").format(
                        tenant.relation.identifier, sql.Identifier(tenant.column)
                    ) + sql.SQL(unset.replace("%", "%%") + ")")
                    action = f"policy {policy.name} without a context"
                    self._try(tenant.relation.label, action, query, (own,), customer=ann)

    def _give_to_nobody(self, tenant: TenantTable, ann: str, own: object) -> None:
        """Try to create, as one customer, a row without a customer that another could see."""
        table, may = tenant.relation, tenant.relation.privileges
        names = {"table": table.identifier, "column": sql.Identifier(tenant.column)}
        done = " RETURNING {column}) SELECT FROM done WHERE {column} IS NULL"
        if "INSERT" in may:
            try:
                values = self._samples.values(table, ann) | {tenant.column: None}
            except CannotMake:
                return  # this was reported already
            insert = sql.SQL("WITH done AS (") + self._samples.insert(table, values)
            query = insert + sql.SQL(done).format(**names)
            self._try(table.label, "INSERT for nobody", query, values, customer=ann)
        if "UPDATE" in may:
            update = "WITH done AS (UPDATE {table} SET {column} = NULL WHERE {column} = %s"
            query = sql.SQL(update + done).format(**names)
            self._try(table.label, "UPDATE giving one's own to nobody", query, (own,), customer=ann)

    def _insert_for(self, tenant: TenantTable, ann: str, bob: str) -> None:
        try:
            values = self._samples.values(tenant.relation, bob)
        except CannotMake as reason:
            self._report(tenant.relation.label, "INSERT for another", "not tried", str(reason))
            return
        if tenant.how == "registry":
            # A second one with the same key would be refused for that alone.
            values[tenant.column] = self._samples.customer_id()
        statement = self._samples.insert(tenant.relation, values)
        self._try(tenant.relation.label, "INSERT for another", statement, values, customer=ann)

    def _copy(self, label: str, names: dict[str, Any], others: object, ann: str) -> None:
        statement = sql.SQL(
            "COPY (SELECT {column} FROM {relation} WHERE {column} = {value}) TO STDOUT"
        ).format(**names, value=sql.Literal(others))

        def run() -> int:
            with self._conn.cursor().copy(statement) as copy:
                return sum(1 for _ in copy.rows())

        self._judge(label, "COPY of another's", run, customer=ann)

    # ── views and functions ──────────────────────────────────────────────────────

    def _on_view(self, view: Relation, ann: str, bob: str) -> None:
        """Try a view with the customer's column as a table is tried."""
        self._read_and_write(view, self._catalog.column, ann, bob, ann)

    def _readers(self) -> Iterator[Reader]:
        """Yield the queries that show parts of customers' rows other than from a table."""
        digest = (
            "SELECT count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0) FROM {} AS x"
        )
        for view in self._catalog.views():
            if "SELECT" in view.privileges and view.kind == "v":
                yield view.label, sql.SQL(digest).format(view.identifier), ()
        key_types = {
            self._catalog.columns[oid][tenant.column].type
            for oid, tenant in self._catalog.tenants.items()
        }
        for function in self._catalog.functions:
            if _can_be_read(function) and not set(function.required) - key_types:
                arguments = sql.SQL(", ").join([sql.Placeholder()] * len(function.required))
                call = sql.SQL("{}({})").format(function.identifier, arguments)
                yield function.label, sql.SQL(digest).format(call), tuple(function.required)

    def _read_all(
        self, ann: str, bob: str, only: str | None = None
    ) -> dict[str, tuple[Any, ...] | psycopg.Error]:
        """Return what each reader shows to Ann, or its error; in a read-only savepoint."""
        shown: dict[str, tuple[Any, ...] | psycopg.Error] = {}
        for name, query, required in self._readers():
            if only not in {None, name}:
                continue
            with self._acting(ann):
                try:
                    self._conn.execute("SET LOCAL transaction_read_only = on")
                    row = self._conn.execute(query, [bob] * len(required)).fetchone()
                    shown[name] = tuple(row or ())
                except psycopg.Error as error:
                    shown[name] = error
        return shown

    def _compare(self, name: str, before: object, again: object, after: dict[str, Any]) -> None:
        """Check that the rows of another customer do not change what is shown."""
        action = "read, before and after another's rows were there"
        now = after.get(name)
        if isinstance(now, psycopg.errors.InsufficientPrivilege):
            self._report(name, action, "refused")
        elif isinstance(now, psycopg.Error) or isinstance(before, psycopg.Error):
            error = now if isinstance(now, psycopg.Error) else before
            self._report(name, action, "not tried", _said(error))
        elif before != again:
            self._report(name, action, "not tried", "It shows something else each time.")
        else:
            self._report(name, action, "refused" if now == before else "crossed")

    # ── one attempt ──────────────────────────────────────────────────────────────

    def _try(
        self, label: str, action: str, query: sql.Composed, values: Any, *, customer: str | None
    ) -> Outcome:
        return self._judge(
            label, action, lambda: self._conn.execute(query, values).rowcount, customer=customer
        )

    def _judge(
        self, label: str, action: str, run: Callable[[], int], *, customer: str | None
    ) -> Outcome:
        """Run an attempt as that customer; a row that is reached is a crossing."""
        outcome: Outcome = "refused"
        detail = ""
        with self._acting(customer):
            try:
                outcome = "crossed" if run() else "refused"
            except _REFUSALS:
                pass
            except psycopg.IntegrityError:  # policies are checked before constraints
                outcome, detail = "crossed", _STOPPED
            except psycopg.Error as error:
                if customer is not None or not isinstance(error, _NOBODY):
                    outcome, detail = "not tried", _said(error)
        self._report(label, action, outcome, detail)
        return outcome

    @contextmanager
    def _acting(self, customer: str | None) -> Iterator[None]:
        """Act as the role, in the customer's context; everything is rolled back."""
        with self._conn.transaction(force_rollback=True):
            self._conn.execute(
                "SELECT set_config(%s, %s, true), set_config(%s, %s, true),"
                " set_config('role', %s, true)",
                (
                    CUSTOMER_SETTING,
                    customer or "",
                    ROLE_SETTING,
                    "customer" if customer else "",
                    self._catalog.role.name,
                ),
            )
            yield

    def _report(self, label: str, action: str, outcome: Outcome, detail: str = "") -> None:
        self._done.append(Attempt(label, action, outcome, detail))


def _can_be_read(function: Function) -> bool:
    return (
        function.callable
        and function.definer
        and len(function.required) <= 1
        and function.returns not in {"trigger", "event_trigger", "void"}
    )


def _said(error: object) -> str:
    return str(error).splitlines()[0]
