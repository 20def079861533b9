"""Read the parts of a database's catalogs that isolation depends on."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from psycopg import Connection, sql
from psycopg.rows import class_row, scalar_row

How = Literal["column", "registry", "reference"]
COMMANDS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}


@dataclass(frozen=True)
class Column:
    table: int
    number: int
    name: str
    required: bool  # NOT NULL, and nothing fills it by itself
    nullable: bool
    always: bool  # GENERATED ALWAYS AS IDENTITY
    updatable: bool  # by the role that is checked
    type: str  # the base type's name
    category: str  # of the base type
    length: int | None
    labels: list[str]  # of an enumeration
    default: str | None


@dataclass(frozen=True)
class Policy:
    table: int
    name: str
    command: str  # a key of COMMANDS, or * for all
    permissive: bool
    applies: bool  # to the role that is checked
    reachable: bool  # applies to it, or to one that it may become
    using: str | None
    check: str | None

    def governs(self, command: str) -> bool:
        return self.command in {"*", command}


@dataclass(frozen=True)
class ForeignKey:
    table: int
    name: str
    columns: list[str]
    referenced: int
    keys: list[str]
    cascades: bool  # deletes with what it refers to


@dataclass(frozen=True)
class Index:
    table: int
    name: str
    columns: list[str | None]  # None is an expression
    unique: bool  # or an exclusion constraint's, which reveals as much
    primary: bool
    partial: bool


@dataclass(frozen=True)
class Check:
    table: int
    columns: list[str]
    definition: str


@dataclass(frozen=True)
class Relation:
    """A table, view or materialized view; the privileges are those of the role checked."""

    oid: int
    schema: str
    name: str
    kind: str  # of pg_class: r, p, f, v, m
    owner: str
    owner_bypasses: bool  # superuser or BYPASSRLS
    owned: bool  # by the role that is checked, or one that it may become
    secured: bool
    forced: bool
    invoker: bool  # a view with security_invoker
    privileges: list[str]
    everybodys: list[str]  # privileges that PUBLIC has
    rows: float  # about so many; -1 is unknown

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class Function:
    oid: int
    schema: str
    name: str
    signature: str
    language: str
    definer: bool
    owner: str
    owner_bypasses: bool
    callable: bool  # by the role that is checked
    returns: str
    required: list[str]  # types of the arguments without a default
    source: str
    settings: list[str]  # in force while it runs, each as name=value
    leakproof: bool
    replaceable: bool  # by the role that is checked
    fires_on: list[int]  # the tables whose triggers call it
    decides_on: list[int]  # the tables whose policies call it

    @property
    def label(self) -> str:
        return self.signature

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class Rule:
    """A rewrite rule that does something else, or more, than the command."""

    table: int
    name: str
    touches: list[int]  # relations


class Role(NamedTuple):
    name: str
    bypasses: bool
    may_become: list[str]  # roles that bypass


@dataclass(frozen=True)
class TenantTable:
    """A table with customers' rows: ``column`` identifies the customer of a row.

    By the customer's id (``column``; in the table that the ids refer to, ``registry``), or by the
    row that it refers to (``reference``).
    """

    relation: Relation
    column: str
    how: How


@dataclass
class Catalog:
    database: str
    column: str
    role: Role
    relations: dict[int, Relation]
    columns: dict[int, dict[str, Column]]
    policies: dict[int, list[Policy]]
    foreign_keys: dict[int, list[ForeignKey]]
    indexes: dict[int, list[Index]]
    checks: dict[int, list[Check]]
    reads: dict[int, set[int]]  # of a view: the relations that it names
    functions: list[Function]
    rules: list[Rule]
    settings: list[tuple[str | None, str | None, str]]  # role, database, name of a preset context
    left_over: str  # a context in force before a client set one
    tenants: dict[int, TenantTable] = field(default_factory=dict)

    def views(self) -> list[Relation]:
        """Return the views that read a tenant table, through other views too."""
        views = [self.relations[oid] for oid in sorted(self.reads) if oid in self.relations]
        return [view for view in views if self._below(view) & self.tenants.keys()]

    def owners_views(self) -> list[Relation]:
        """Return the views that read a tenant table with the rights of a view's owner.

        Where a view with ``security_invoker`` is in between, the reader's own rights count.
        """
        views = [view for view in self.views() if not view.invoker]
        return [view for view in views if self._below(view, owners=True) & self.tenants.keys()]

    def _below(self, view: Relation, *, owners: bool = False) -> set[int]:
        found: set[int] = set()
        todo = [view.oid]
        while todo:
            new = self.reads.get(todo.pop(), set()) - found
            found |= new
            todo += [
                oid
                for oid in new & self.reads.keys() & self.relations.keys()
                if not (owners and self.relations[oid].invoker)
            ]
        return found


_OURS = (
    "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS"
    " (SELECT FROM pg_depend e WHERE e.objid = {oid} AND e.deptype = 'e')"
)

_RELATIONS = (
    "SELECT c.oid::int8, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,"
    " o.rolname AS owner, o.rolsuper OR o.rolbypassrls AS owner_bypasses,"
    " pg_has_role(%(role)s, c.relowner, 'MEMBER') AS owned, c.relrowsecurity AS secured,"
    " c.relforcerowsecurity AS forced,"
    " coalesce(c.reloptions::text ~ 'security_invoker=(true|on|yes|1)', false) AS invoker,"
    " ARRAY(SELECT p FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE']) p"
    "   WHERE has_schema_privilege(%(role)s, n.oid, 'USAGE')"
    "   AND CASE WHEN p IN ('SELECT', 'INSERT', 'UPDATE')"
    "     THEN has_any_column_privilege(%(role)s, c.oid, p)"
    "     ELSE has_table_privilege(%(role)s, c.oid, p) END) AS privileges,"
    " ARRAY(SELECT DISTINCT privilege_type FROM aclexplode(c.relacl) WHERE grantee = 0"
    "   ORDER BY 1)::text[] AS everybodys, c.reltuples AS rows"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_roles o ON o.oid = c.relowner"
    " WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't' AND "
    + _OURS.format(oid="c.oid")
    + " ORDER BY 2, 3"
)

_COLUMNS = (
    "SELECT a.attrelid::int8 AS table, a.attnum AS number, a.attname AS name,"
    " a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS required,"
    " NOT a.attnotnull AS nullable, a.attidentity = 'a' AS always,"
    " has_column_privilege(%(role)s, a.attrelid, a.attnum, 'UPDATE') AS updatable,"
    " b.typname AS type, b.typcategory::text AS category,"
    " CASE WHEN b.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4"
    "   THEN a.atttypmod - 4 END AS length,"
    " ARRAY(SELECT enumlabel FROM pg_enum WHERE enumtypid = b.oid ORDER BY enumsortorder)::text[]"
    "   AS labels, pg_get_expr(d.adbin, d.adrelid) AS default"
    " FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " JOIN pg_type t ON t.oid = a.atttypid"
    " JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END"
    " WHERE a.attrelid = ANY(%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped"
    " AND a.attgenerated = '' ORDER BY a.attnum"
)

_POLICIES = (
    "SELECT polrelid::int8 AS table, polname AS name, polcmd::text AS command,"
    " polpermissive AS permissive, EXISTS (SELECT FROM unnest(polroles) r"
    "   WHERE r = 0 OR pg_has_role(%(role)s, r, 'USAGE')) AS applies,"
    " EXISTS (SELECT FROM unnest(polroles) r"
    "   WHERE r = 0 OR pg_has_role(%(role)s, r, 'MEMBER')) AS reachable,"
    " pg_get_expr(polqual, polrelid) AS using, pg_get_expr(polwithcheck, polrelid) AS check"
    " FROM pg_policy WHERE polrelid = ANY(%(oids)s) ORDER BY polname"
)

_NAMES = (
    "ARRAY(SELECT a.attname FROM unnest({keys}) WITH ORDINALITY k(number, place)"
    " LEFT JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number AND k.number > 0"
    " ORDER BY k.place)::text[]"
)

_FOREIGN_KEYS = (
    "SELECT conrelid::int8 AS table, conname AS name, confrelid::int8 AS referenced, "
    + _NAMES.format(keys="conkey", table="conrelid")
    + " AS columns, "
    + _NAMES.format(keys="confkey", table="confrelid")
    + " AS keys, confdeltype = 'c' AS cascades FROM pg_constraint WHERE contype = 'f'"
    " AND conrelid = ANY(%(oids)s) AND conparentid = 0 ORDER BY conname"
)

_INDEXES = (
    "SELECT indrelid::int8 AS table, c.relname AS name, indisunique OR indisexclusion AS unique,"
    " indisprimary AS primary, indpred IS NOT NULL AS partial, "
    + _NAMES.format(keys="(indkey::int2[])[0:indnkeyatts - 1]", table="indrelid")
    + " AS columns FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
    " WHERE indrelid = ANY(%(oids)s) AND indisvalid ORDER BY c.relname"
)

_CHECKS = (
    "SELECT conrelid::int8 AS table, "
    + _NAMES.format(keys="conkey", table="conrelid")
    + " AS columns, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
    " WHERE contype = 'c' AND conrelid = ANY(%(oids)s)"
)

_READS = (
    "SELECT DISTINCT r.ev_class::int8, d.refobjid::int8"
    " FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass"
    " AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass"
    " WHERE r.rulename = '_RETURN' AND d.refobjid <> r.ev_class"
)

_FUNCTIONS = (
    "SELECT p.oid::int8, n.nspname AS schema, p.proname AS name,"
    " p.oid::regprocedure::text AS signature, l.lanname AS language, p.prosecdef AS definer,"
    " o.rolname AS owner, o.rolsuper OR o.rolbypassrls AS owner_bypasses,"
    " has_schema_privilege(%(role)s, n.oid, 'USAGE')"
    "   AND has_function_privilege(%(role)s, p.oid, 'EXECUTE') AS callable,"
    " p.prorettype::regtype::text AS returns, ARRAY(SELECT typname FROM unnest("
    "   (p.proargtypes::oid[])[0:p.pronargs - p.pronargdefaults - 1])"
    "   WITH ORDINALITY k(type, place)"
    "   JOIN pg_type t ON t.oid = k.type ORDER BY place)::text[] AS required,"
    " coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS source,"
    " coalesce(p.proconfig, '{}') AS settings, p.proleakproof AS leakproof,"
    " pg_has_role(%(role)s, p.proowner, 'MEMBER') AS replaceable,"
    " ARRAY(SELECT tgrelid::int8 FROM pg_trigger"
    "   WHERE tgfoid = p.oid AND NOT tgisinternal)::int8[] AS fires_on,"
    " ARRAY(SELECT DISTINCT polrelid::int8 FROM pg_depend d"
    "   JOIN pg_policy ON pg_policy.oid = d.objid WHERE d.classid = 'pg_policy'::regclass"
    "   AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid ORDER BY 1) AS decides_on"
    " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
    " JOIN pg_language l ON l.oid = p.prolang JOIN pg_roles o ON o.oid = p.proowner"
    " WHERE p.prokind IN ('f', 'p') AND " + _OURS.format(oid="p.oid") + " ORDER BY 4"
)

_RULES = (
    "SELECT r.ev_class::int8 AS table, r.rulename AS name, ARRAY(SELECT DISTINCT d.refobjid::int8"
    "   FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid"
    "   AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class) AS touches"
    " FROM pg_rewrite r WHERE r.rulename <> '_RETURN' AND r.ev_class = ANY(%(oids)s)"
    " ORDER BY r.rulename"
)

_SETTINGS = (
    "SELECT r.rolname, d.datname, split_part(config, '=', 1) FROM pg_db_role_setting s"
    " LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,"
    " unnest(s.setconfig) config WHERE config LIKE 'app.current\\_%'"
    " AND (s.setdatabase = 0 OR d.datname = current_database()) ORDER BY 1, 2, 3"
)

_MAY_READ_SETTINGS = "SELECT has_table_privilege('pg_db_role_setting', 'SELECT')"

_ROLE = (
    "SELECT rolname, rolsuper OR rolbypassrls, ARRAY(SELECT b.rolname FROM pg_roles b"
    # The last three can read the files of the data directory, or run any program as the server.
    " WHERE (b.rolsuper OR b.rolbypassrls OR b.rolname IN ('pg_read_server_files',"
    "   'pg_write_server_files', 'pg_execute_server_program')) AND b.oid <> r.oid"
    " AND pg_has_role(r.oid, b.oid, 'MEMBER'))::text[] FROM pg_roles r WHERE rolname = %(role)s"
)

_LEFT_OVER = (
    "SELECT concat_ws(', ', nullif(current_setting('app.current_customer_id', true), ''),"
    " nullif(current_setting('app.current_user_role', true), ''))"
)


def read(conn: Connection[Any], *, column: str, role: str | None) -> Catalog:
    """Read the catalog for ``role`` (default: the connection's own).

    Raises LookupError if there is no such role.
    """
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL search_path = pg_catalog, pg_temp")  # else names lose their schemas
        return _read(conn, column, role)


def _read(conn: Connection[Any], column: str, role: str | None) -> Catalog:
    cursor = conn.cursor(row_factory=scalar_row)
    left_over: str = cursor.execute(_LEFT_OVER).fetchone() or ""
    tested = role or str(cursor.execute("SELECT current_user").fetchone())
    described = conn.cursor().execute(_ROLE, {"role": tested}).fetchone()
    if described is None:
        raise LookupError(f"There is no role {tested}.")
    wanted: dict[str, Any] = {"role": tested}
    relations = _rows(conn, Relation, _RELATIONS, wanted)
    wanted["oids"] = [relation.oid for relation in relations]
    reads: dict[int, set[int]] = defaultdict(set)
    for view, base in conn.cursor().execute(_READS):
        reads[view].add(base)
    columns: dict[int, dict[str, Column]] = defaultdict(dict)
    for each in _rows(conn, Column, _COLUMNS, wanted):
        columns[each.table][each.name] = each
    catalog = Catalog(
        database=conn.info.dbname,
        column=column,
        role=Role(*described),
        relations={relation.oid: relation for relation in relations},
        columns=columns,
        policies=_by_table(_rows(conn, Policy, _POLICIES, wanted)),
        foreign_keys=_by_table(_rows(conn, ForeignKey, _FOREIGN_KEYS, wanted)),
        indexes=_by_table(_rows(conn, Index, _INDEXES, wanted)),
        checks=_by_table(_rows(conn, Check, _CHECKS, wanted)),
        reads=reads,
        functions=_rows(conn, Function, _FUNCTIONS, wanted),
        rules=_rows(conn, Rule, _RULES, wanted),
        settings=_settings(conn),
        left_over=left_over,
    )
    catalog.tenants = _tenants(catalog)
    return catalog


def _settings(conn: Connection[Any]) -> list[tuple[str | None, str | None, str]]:
    """Return preset contexts, empty where a provider hides them.

    Each is role, database and name. Those of the own role are in force, and so left over.
    """
    if not conn.cursor(row_factory=scalar_row).execute(_MAY_READ_SETTINGS).fetchone():
        return []
    return [(role, database, name) for role, database, name in conn.cursor().execute(_SETTINGS)]


def _tenants(catalog: Catalog) -> dict[int, TenantTable]:
    """Return the tables with customers' rows: by their column, or by what they refer to."""
    tables = [each for each in catalog.relations.values() if each.kind in "rpf"]
    found = {
        table.oid: TenantTable(table, catalog.column, "column")
        for table in tables
        if catalog.column in catalog.columns[table.oid]
    }
    for oid in list(found):
        for key in catalog.foreign_keys[oid]:
            if key.columns == [catalog.column] and key.referenced not in found:
                registry = catalog.relations[key.referenced]
                found[registry.oid] = TenantTable(registry, key.keys[0], "registry")
    grew = True
    while grew:
        grew = False
        for table in tables:
            for key in catalog.foreign_keys[table.oid]:
                if table.oid in found or key.referenced not in found:
                    continue
                if tenant := _hanging_on(catalog, table, key, found[key.referenced]):
                    found[table.oid] = tenant
                    grew = True
    return found


def _hanging_on(
    catalog: Catalog, table: Relation, key: ForeignKey, parent: TenantTable
) -> TenantTable | None:
    """Return how a row of ``table`` belongs to a customer by that key; None if it need not."""
    columns = catalog.columns[table.oid]
    whose = dict(zip(key.keys, key.columns, strict=True)).get(parent.column)
    if any(columns[name].nullable for name in key.columns):
        return None
    if parent.how == "column" and whose is not None:
        return TenantTable(table, whose, "column")  # the customer's id by another name
    return TenantTable(table, key.columns[0], "reference") if len(key.columns) == 1 else None


def _rows(conn: Connection[Any], kind: type[Any], query: str, wanted: dict[str, Any]) -> Any:
    return conn.cursor(row_factory=class_row(kind)).execute(query.encode(), wanted).fetchall()


def _by_table(rows: Iterable[Any]) -> Any:
    found = defaultdict(list)
    for row in rows:
        found[row.table].append(row)
    return found
