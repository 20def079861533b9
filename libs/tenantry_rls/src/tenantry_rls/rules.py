"""The rules for isolated customers, with reasons. Pure: a catalog in, findings out.

The database, the role and the tables are here; ways around tables are in ``bypasses``.
"""

import re
from collections.abc import Callable, Iterator

from psycopg import sql

from tenantry_rls import bypasses
from tenantry_rls.catalog import COMMANDS, Catalog, ForeignKey, Policy, Relation, TenantTable
from tenantry_rls.context import CUSTOMER_SETTING
from tenantry_rls.report import Finding

_CONTEXT = re.compile(r"current_setting|\bapp\.current_|\bSELECT\b|\w\(", re.IGNORECASE)
_OF_THEIR_OWN = {"uuid", "int2", "int4", "int8"}  # types of keys that the database generates


def judge(catalog: Catalog) -> list[Finding]:
    """Apply every rule to all that it concerns."""
    found = [*_database(catalog), *_role(catalog)]
    for tenant in catalog.tenants.values():
        for rule in _TABLE_RULES:
            found += rule(catalog, tenant)
    for table in catalog.relations.values():
        found += _hanging(catalog, table)
    return [*found, *bypasses.judge(catalog)]


def _text(template: str, *names: sql.Composable) -> str:
    return sql.SQL(template).format(*names).as_string()


def _database(catalog: Catalog) -> Iterator[Finding]:
    if not catalog.tenants:
        yield Finding(
            "no-tenant-table",
            catalog.database,
            f"No table has a column {catalog.column}.",
            "There is nothing whose isolation could be proved.",
            "-- Name the column that holds the customer's id: --column NAME",
        )
    for role, database, name in catalog.settings:
        whose = "ROLE {}" if role else "DATABASE {}" if database else "ROLE ALL"
        within = " IN DATABASE {}" if role and database else ""
        yield Finding(
            "default-context",
            " in ".join(each for each in (role, database) if each) or "all roles",
            f"{name} is preset.",
            "Whoever sets no context is somebody, instead of nobody.",
            _text(
                f"ALTER {whose}{within} RESET {{}};",
                *(sql.Identifier(each) for each in (role, database, name) if each),
            ),
        )
    if catalog.left_over:
        yield Finding(
            "context-left-over",
            catalog.database,
            "A new connection is in somebody's context before it has set any.",
            "It was set for a session instead of a transaction, and a pooler hands it on, or it is "
            "preset.",
            "-- Set it with set_config(…, true), as tenant_transaction does, and run in that\n"
            "-- session: DISCARD ALL;",
        )


def _role(catalog: Catalog) -> Iterator[Finding]:
    role = catalog.role
    if role.bypasses:
        yield Finding(
            "role-bypasses",
            role.name,
            f"The role {role.name} is a superuser, or has BYPASSRLS.",
            "No policy applies to it. Name the application's role with --role.",
            _text("ALTER ROLE {} NOSUPERUSER NOBYPASSRLS;", sql.Identifier(role.name)),
        )
        return
    for other in role.may_become:
        yield Finding(
            "role-may-bypass",
            role.name,
            f"{role.name} may become {other}, to whom no policy applies.",
            "SET ROLE is one statement away from everything.",
            _text("REVOKE {} FROM {};", sql.Identifier(other), sql.Identifier(role.name)),
        )


# ── tables ───────────────────────────────────────────────────────────────────────


def _security(catalog: Catalog, tenant: TenantTable) -> Iterator[Finding]:
    table = tenant.relation
    if table.kind == "f":
        yield Finding(
            "foreign-table",
            table.label,
            "It is a foreign table, which can have no row-level security.",
            "Whoever may read it reads all customers' rows.",
            _text("REVOKE ALL ON {} FROM {};", table.identifier, sql.Identifier(catalog.role.name)),
        )
        return
    if not table.secured and (table.privileges or tenant.how == "column"):
        yield Finding(
            "rls-off",
            table.label,
            "Row-level security is not enabled.",
            "Policies, if there are any, do nothing: everybody's rows are seen."
            + (
                f" It refers to customers' rows by {tenant.column}."
                if tenant.how == "reference"
                else ""
            ),
            _text("ALTER TABLE {} ENABLE ROW LEVEL SECURITY;", table.identifier),
        )
    elif table.secured and not table.forced:
        yield Finding(
            "rls-not-forced",
            table.label,
            "Row-level security is not forced.",
            f"It does not apply to the owner, {table.owner}, nor to what runs as the owner.",
            _text("ALTER TABLE {} FORCE ROW LEVEL SECURITY;", table.identifier),
        )


def _policies(catalog: Catalog, tenant: TenantTable) -> Iterator[Finding]:
    table = tenant.relation
    if not table.secured:
        return
    policies = [each for each in catalog.policies[table.oid] if each.applies and each.permissive]
    for command in COMMANDS:
        name = COMMANDS[command]
        if name in table.privileges and not any(each.governs(command) for each in policies):
            yield Finding(
                "policy-missing",
                table.label,
                f"No policy lets {catalog.role.name} {name}, though it may.",
                "Nobody has thought of whose rows that would be.",
                f"-- tenantry_rls enable {table.label} --column {tenant.column}\n"
                + _text(
                    "-- or: REVOKE " + name + " ON {} FROM {};",
                    table.identifier,
                    sql.Identifier(catalog.role.name),
                ),
            )
    for policy in catalog.policies[table.oid]:
        if not (policy.permissive and policy.reachable):
            continue
        if not _shows_nobodys(policy, tenant) and (open_part := _open_part(policy)):
            yield Finding(
                "policy-open",
                table.label,
                f"The policy {policy.name} has {open_part}, which asks for no context.",
                "Permissive policies add up: what one of them lets through, no other holds back.",
                _text("DROP POLICY {} ON {};", sql.Identifier(policy.name), table.identifier),
            )


def _shows_nobodys(policy: Policy, tenant: TenantTable) -> bool:
    """Whether a policy only admits reading rows without a customer, such as public ones."""
    using = (policy.using or "").replace('"', "")
    return policy.command == "r" and using == f"({tenant.column} IS NULL)"


def _open_part(policy: Policy) -> str | None:
    """Return the part of a policy that does not depend on the transaction's customer."""
    for keyword, expression in (("USING", policy.using), ("WITH CHECK", policy.check)):
        if expression is not None and expression != "false" and not _CONTEXT.search(expression):
            return f"{keyword} ({expression})"
    return None


def _privileges(catalog: Catalog, tenant: TenantTable) -> Iterator[Finding]:
    table, role = tenant.relation, catalog.role
    if role.bypasses:
        return
    if table.everybodys:
        yield Finding(
            "granted-to-everybody",
            table.label,
            f"PUBLIC may {', '.join(table.everybodys)}.",
            "Whoever gets a login gets that, and is held back by the policies alone.",
            _text("REVOKE ALL ON {} FROM PUBLIC;", table.identifier),
            severity="warning",
        )
    if table.owned:
        yield Finding(
            "role-owns",
            table.label,
            f"{role.name} is its owner, {table.owner}, or may become it.",
            "An owner is under forced security, and can switch it off.",
            _text("ALTER TABLE {} OWNER TO …;", table.identifier),
            severity="warning",
        )
    elif "TRUNCATE" in table.privileges:
        yield Finding(
            "truncate-granted",
            table.label,
            f"{role.name} may TRUNCATE it.",
            "Row-level security does not apply to TRUNCATE: it empties all customers' rows.",
            _text("REVOKE TRUNCATE ON {} FROM {};", table.identifier, sql.Identifier(role.name)),
        )


def _column(catalog: Catalog, tenant: TenantTable) -> Iterator[Finding]:
    table = tenant.relation
    if tenant.how == "column" and catalog.columns[table.oid][tenant.column].nullable:
        yield Finding(
            "column-nullable",
            table.label,
            f"{tenant.column} may be NULL.",
            "Such a row is nobody's, and a policy that makes an exception for it everybody's.",
            _text(
                "ALTER TABLE {} ALTER COLUMN {} SET NOT NULL;",
                table.identifier,
                sql.Identifier(tenant.column),
            ),
            severity="warning",
        )
    default = catalog.columns[table.oid][tenant.column].default
    if tenant.how == "column" and default and _of_nobody_in_particular(default):
        yield Finding(
            "column-default",
            table.label,
            f"{tenant.column} defaults to {default}.",
            "Whoever forgets to say whose a row is, writes somebody else's, or is refused.",
            _text(
                "ALTER TABLE {} ALTER COLUMN {} SET DEFAULT current_setting('{}')::…;",
                table.identifier,
                sql.Identifier(tenant.column),
                sql.SQL(CUSTOMER_SETTING),
            ),
            severity="warning",
        )
    indexes = catalog.indexes[table.oid]
    if not any(each.columns[0] == tenant.column and not each.partial for each in indexes):
        yield Finding(
            "index-missing",
            table.label,
            f"No index begins with {tenant.column}.",
            "Every query of a customer has a condition on it, by the policy.",
            _text("CREATE INDEX ON {} ({});", table.identifier, sql.Identifier(tenant.column)),
            severity="warning",
        )


def _of_nobody_in_particular(default: str) -> bool:
    """Whether a default is a constant, or a setting other than the customer's."""
    if "current_setting" in default:
        return CUSTOMER_SETTING not in default
    return "(" not in default and not default.startswith("NULL")


def _hanging(catalog: Catalog, table: Relation) -> Iterator[Finding]:
    """Find a table whose rows may belong to customers' rows, though no constraint requires it."""
    if table.oid in catalog.tenants or table.secured or not table.privileges:
        return
    for key in catalog.foreign_keys[table.oid]:
        if parent := catalog.tenants.get(key.referenced):
            yield Finding(
                "hangs-unsecured",
                table.label,
                f"It refers to {parent.relation.label} by {', '.join(key.columns)}, and is not "
                "under row-level security.",
                "What belongs to a customer's row is seen by all.",
                f"-- tenantry_rls enable {table.label} --through {key.columns[0]}",
                severity="warning",
            )


def _foreign_keys(catalog: Catalog, tenant: TenantTable) -> Iterator[Finding]:
    """Find references that may cross: they are checked without policies, and lack the customer."""
    for key in catalog.foreign_keys[tenant.relation.oid]:
        parent = catalog.tenants.get(key.referenced)
        if parent is None or parent.how == "registry":
            continue
        if tenant.how == "reference" and key.columns == [tenant.column]:
            continue  # it is the one that identifies the customer of a row
        if (tenant.column, parent.column) in zip(key.columns, key.keys, strict=True):
            continue
        both = tenant.how == parent.how == "column"
        yield Finding(
            "foreign-key-crosses",
            tenant.relation.label,
            f"The foreign key {key.name} to {parent.relation.label} leaves out the customer.",
            "Foreign keys are checked without policies: a customer's row can refer to another "
            "customer's, and learns that it exists"
            + (", and goes when that one goes." if key.cascades else "."),
            _with_the_customer(tenant, parent, key)
            if both
            else "-- Give both tables the customer's column, and the foreign key as well.",
            severity="error" if both else "warning",
        )


def _with_the_customer(tenant: TenantTable, parent: TenantTable, key: ForeignKey) -> str:
    table, other = tenant.relation.identifier, parent.relation.identifier
    column, customer = sql.Identifier(tenant.column), sql.Identifier(parent.column)
    own, theirs = (sql.SQL(", ").join(map(sql.Identifier, c)) for c in (key.columns, key.keys))
    return (
        _text("ALTER TABLE {} ADD UNIQUE ({}, {});\n", other, customer, theirs)
        + _text("ALTER TABLE {} DROP CONSTRAINT {},\n", table, sql.Identifier(key.name))
        + _text(
            "  ADD FOREIGN KEY ({}, {}) REFERENCES {} ({}, {}){};",
            column,
            own,
            other,
            customer,
            theirs,
            sql.SQL(" ON DELETE CASCADE" if key.cascades else ""),
        )
    )


def _unique(catalog: Catalog, tenant: TenantTable) -> Iterator[Finding]:
    """Find unique keys over all customers, which reveal what the others have."""
    table = tenant.relation
    columns = catalog.columns[table.oid]
    bound = {
        column
        for key in catalog.foreign_keys[table.oid]
        if key.referenced in catalog.tenants
        for column in key.columns
    }
    for index in catalog.indexes[table.oid]:
        names = [name for name in index.columns if name]
        made_up = names and all(
            name in columns and columns[name].type in _OF_THEIR_OWN for name in names
        )
        if not index.unique or tenant.column in names or bound & set(names):
            continue
        if made_up and len(names) == len(index.columns):
            continue
        yield Finding(
            "unique-tells",
            table.label,
            f"The unique index {index.name} leaves out {tenant.column}.",
            "A value that is refused is one that another customer has.",
            _text(
                "CREATE UNIQUE INDEX ON {} ({});  -- in place of {}",
                table.identifier,
                sql.SQL(", ").join(map(sql.Identifier, [tenant.column, *names])),
                sql.Identifier(index.name),
            ),
            severity="warning",
        )


_TABLE_RULES: tuple[Callable[[Catalog, TenantTable], Iterator[Finding]], ...] = (
    _security,
    _policies,
    _privileges,
    _column,
    _foreign_keys,
    _unique,
)
