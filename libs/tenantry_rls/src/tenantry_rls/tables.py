"""Create and drop the tenant policies of a table.

``enable`` makes a table show each customer its own rows and administrators all:

    tenant_select, tenant_insert, tenant_update, tenant_delete
                              the rows whose column is ``app.current_customer_id``
    tenant_administrator      all rows, where ``app.current_user_role`` is ``administrator``

Row-level security is also *forced*, so that it applies to the owner as well. The value that a
policy compares with is in a sub-select, so that it is computed once for a query, not once for a
row. A table without the column is secured through the one that it refers to.

Names go through ``psycopg.sql``; types and referenced columns are the catalog's own.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import Connection, Rollback, sql
from psycopg.rows import namedtuple_row, scalar_row

from tenantry_rls.context import CUSTOMER_SETTING, ROLE_SETTING, TenantError

POLICIES = ("tenant_select", "tenant_insert", "tenant_update", "tenant_delete")
ADMINISTRATOR = "tenant_administrator"
EVERY_LOGIN = "public"


class UnknownTable(TenantError):
    """There is no such table, or no such column in it."""


@dataclass(frozen=True, slots=True)
class Change:
    """The statements that bring a table to the wanted state, and whether they changed it."""

    statements: tuple[sql.Composed, ...]
    changed: bool


class _Table(NamedTuple):
    """A table, or a partition of it."""

    oid: int
    schema: str
    name: str
    secured: bool
    forced: bool

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def enable(
    conn: Connection[Any],
    table: str,
    *,
    column: str = "customer_id",
    through: str | None = None,
    admin_role: str | None = EVERY_LOGIN,
    dry_run: bool = False,
) -> Change:
    """Create the policies on ``table``, its partitions and what inherits from it.

    ``column`` holds the customer's id; or ``through`` names a column that refers to a secured
    table, and the rows belong to the customers of that table's rows. ``admin_role`` is the role
    whose logins may act as administrators (default: every login); None admits none.

    Raises UnknownTable where the table, the column or the reference does not exist. All is done in
    one transaction, or nothing.
    """
    with conn.transaction():
        statements: list[sql.Composed] = []
        for each in _family(conn, table):
            if through is None:
                own = _own_rows(conn, each, column)
            else:
                own, admin_role = _rows_of_the_referenced(conn, each, through), None
            statements += _secure(each)
            statements += _policies(each, own, admin_role)
        statements += _index(conn, _family(conn, table)[0], through or column)
        return _carry_out(conn, table, statements, dry_run=dry_run)


def disable(conn: Connection[Any], table: str, *, dry_run: bool = False) -> Change:
    """Drop the policies, and turn row-level security off unless other policies need it.

    The index stays. Raises UnknownTable.
    """
    with conn.transaction():
        statements: list[sql.Composed] = []
        for each in _family(conn, table):
            there = _policy_names(conn, each)
            ours = [name for name in (*POLICIES, ADMINISTRATOR) if name in there]
            statements += [_drop(each, name) for name in ours]
            if there <= set(ours):
                if each.forced:
                    statements.append(_alter(each, sql.SQL("NO FORCE ROW LEVEL SECURITY")))
                if each.secured:
                    statements.append(_alter(each, sql.SQL("DISABLE ROW LEVEL SECURITY")))
        return _carry_out(conn, table, statements, dry_run=dry_run)


def _carry_out(
    conn: Connection[Any], table: str, statements: list[sql.Composed], *, dry_run: bool
) -> Change:
    if dry_run:
        return Change(tuple(statements), changed=False)
    before = _snapshot(conn, table)
    with conn.transaction() as savepoint:
        for statement in statements:
            conn.execute(statement)
        changed = _snapshot(conn, table) != before
        if not changed:
            raise Rollback(savepoint)
    return Change(tuple(statements), changed)


def _family(conn: Connection[Any], table: str) -> list[_Table]:
    """Return the table, then its partitions and children."""
    found = conn.cursor(row_factory=namedtuple_row).execute(
        "WITH RECURSIVE family(oid) AS (SELECT to_regclass(%s)::oid"
        " UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = oid)"
        " SELECT c.oid, n.nspname, c.relname, c.relrowsecurity, c.relforcerowsecurity"
        " FROM family JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p') ORDER BY c.oid <> to_regclass(%s)::oid, c.oid",
        (table, table),
    )
    if family := [_Table(*row) for row in found]:
        return family
    raise UnknownTable(f"There is no table {table}. Write it as schema.table if need be.")


def _own_rows(conn: Connection[Any], table: _Table, column: str) -> sql.Composed:
    type_ = conn.execute(
        "SELECT n.nspname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        " JOIN pg_namespace n ON n.oid = t.typnamespace"
        " WHERE attrelid = %s AND attname = %s AND attnum > 0 AND NOT attisdropped",
        (table.oid, column),
    ).fetchone()
    if type_ is None:
        raise UnknownTable(f"{table.schema}.{table.name} has no column {column}.")
    return sql.SQL("{} = (SELECT nullif(current_setting({}, true), '')::{})").format(
        sql.Identifier(column), CUSTOMER_SETTING, sql.Identifier(*type_)
    )


def _rows_of_the_referenced(conn: Connection[Any], table: _Table, column: str) -> sql.Composed:
    referenced = conn.execute(
        "SELECT n.nspname, r.relname, f.attname FROM pg_constraint k"
        " JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]"
        " JOIN pg_attribute f ON f.attrelid = k.confrelid AND k.confkey = ARRAY[f.attnum]"
        " JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace"
        " WHERE k.contype = 'f' AND k.conrelid = %s AND a.attname = %s",
        (table.oid, column),
    ).fetchone()
    if referenced is None:
        raise UnknownTable(f"{table.schema}.{table.name} has no foreign key on {column} alone.")
    schema, name, key = referenced
    return sql.SQL("{} IN (SELECT {} FROM {})").format(
        sql.Identifier(column), sql.Identifier(key), sql.Identifier(schema, name)
    )


def _secure(table: _Table) -> list[sql.Composed]:
    wanted = [
        (table.secured, sql.SQL("ENABLE ROW LEVEL SECURITY")),
        (table.forced, sql.SQL("FORCE ROW LEVEL SECURITY")),
    ]
    return [_alter(table, what) for there, what in wanted if not there]


def _alter(table: _Table, what: sql.SQL) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} {}").format(table.identifier, what)


def _drop(table: _Table, policy: str) -> sql.Composed:
    return sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(
        sql.Identifier(policy), table.identifier
    )


def _policies(table: _Table, own: sql.Composed, admin_role: str | None) -> list[sql.Composed]:
    """Return statements that drop and create each policy: an altered one is replaced."""
    using = sql.SQL("USING ({})").format(own)
    check = sql.SQL("WITH CHECK ({})").format(own)
    bodies = {
        "tenant_select": sql.SQL("FOR SELECT {}").format(using),
        "tenant_insert": sql.SQL("FOR INSERT {}").format(check),
        "tenant_update": sql.SQL("FOR UPDATE {} {}").format(using, check),
        "tenant_delete": sql.SQL("FOR DELETE {}").format(using),
    }
    if admin_role is not None:
        acting = sql.SQL("(SELECT current_setting({}, true)) = 'administrator'").format(
            ROLE_SETTING
        )
        everybody = admin_role.lower() == EVERY_LOGIN
        bodies[ADMINISTRATOR] = sql.SQL("FOR ALL TO {} USING ({}) WITH CHECK ({})").format(
            sql.SQL("PUBLIC") if everybody else sql.Identifier(admin_role), acting, acting
        )
    statements = [_drop(table, name) for name in (*POLICIES, ADMINISTRATOR)]
    create = sql.SQL("CREATE POLICY {} ON {} {}")
    return statements + [
        create.format(sql.Identifier(name), table.identifier, body) for name, body in bodies.items()
    ]


def _index(conn: Connection[Any], table: _Table, column: str) -> list[sql.Composed]:
    """Return the statement for an index that begins with the column, unless there is one."""
    there = conn.execute(
        "SELECT 1 FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]"
        " WHERE indrelid = %s AND attname = %s AND indisvalid AND indpred IS NULL",
        (table.oid, column),
    ).fetchone()
    create = sql.SQL("CREATE INDEX ON {} ({})")
    return [] if there else [create.format(table.identifier, sql.Identifier(column))]


def _policy_names(conn: Connection[Any], table: _Table) -> set[str]:
    found = conn.cursor(row_factory=scalar_row).execute(
        "SELECT polname FROM pg_policy WHERE polrelid = %s", (table.oid,)
    )
    return set(found)


def _snapshot(conn: Connection[Any], table: str) -> list[tuple[Any, ...]]:
    """Return the state of all that ``enable`` and ``disable`` change."""
    return conn.execute(
        "WITH RECURSIVE family(oid) AS (SELECT to_regclass(%s)::oid"
        " UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = oid)"
        " SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity,"
        " ARRAY(SELECT concat_ws('|', polname, polcmd, polpermissive, polroles,"
        "   pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))"
        "   FROM pg_policy WHERE polrelid = c.oid ORDER BY polname),"
        " (SELECT count(*) FROM pg_index WHERE indrelid = c.oid)"
        " FROM family JOIN pg_class c USING (oid) ORDER BY c.oid",
        (table,),
    ).fetchall()
