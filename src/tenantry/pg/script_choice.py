"""Choose what of a script is run: all but what pg_restore leaves out of an imported dump.

Owners, grants and policies name roles of the server that the script is from: those that are mapped
to a login of this database are replaced by it, the others are left out. What needs a superuser is
left out too. And whole databases, roles and tablespaces are not one database's contents.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pglast import ast, parser
from pglast.enums import (
    RoleSpecType,
)

from tenantry.pg.script_kinds import (
    OF_A_SERVER,
    cannot_be_here,
    drops_or_creates_a_database,
    gives_away,
    is_foreign_key,
    is_there_already,
    only_drops,
    roles_in,
    sets_for_a_login_there,
)
from tenantry.pg.script_reducing import (
    moves_to,
    without_changes_of_place,
    without_owner,
    without_tablespaces,
)
from tenantry.pg.script_statements import (
    database_setting,
    decoded,
    parsed,
    quoted,
    spliced,
)
from tenantry.pg.scripts import EMPTIES_SEARCH_PATH, FOR_ONE_DATABASE, Refused, Statement

# Never left out, and may be as long as a table.
_DATA = {b"INSERT", b"COPY", b"SELECT", b"UPDATE", b"DELETE", b"WITH"}
_UNLINKS = b"SELECT pg_catalog.lo_unlink("
_STATISTICS = (
    b"SELECT * FROM pg_catalog.pg_restore_relation_stats(",
    b"SELECT * FROM pg_catalog.pg_restore_attribute_stats(",
    b"SELECT * FROM pg_catalog.pg_restore_extended_stats(",
)
_WITH_STATISTICS = 18_00_00  # the first version that has these functions
_LONGEST_REPORTED = 200  # bytes
_MOST_REPORTED = 1000
_DEFAULT_TABLESPACES = {"", "pg_default"}
# pg_dump limits nothing by them: it sets them to 0.
_LIMITS = {"transaction_timeout"}
_MAKES_NOTHING = (ast.VariableSetStmt, ast.TransactionStmt)

# SQLSTATEs (PostgreSQL's manual, appendix A).
_UNKNOWN_SETTING = b"42704"  # undefined_object
_MISSING = frozenset(
    # undefined_table, _column, _function, _object, invalid_schema_name
    (b"42P01", b"42703", b"42883", b"42704", b"3F000")
)
_NOT_ALLOWED = b"42501"  # insufficient_privilege
# feature_not_supported, undefined_file: there is no such extension.
_NOT_AVAILABLE = {b"0A000", b"58P01"}
# invalid_parameter_value: not in this version.
_NO_EXTENSION = _MISSING | _NOT_AVAILABLE | {_NOT_ALLOWED, b"22023"}
# Left out with an extension that they need; neither rows nor what protects them.
_GOES_WITH_IT = (
    ast.ViewStmt,
    ast.CreateTableAsStmt,
    ast.RefreshMatViewStmt,
    ast.CreateFunctionStmt,
    ast.DefineStmt,
    ast.CreateCastStmt,
    ast.CreateOpClassStmt,
    ast.CreateOpFamilyStmt,
    ast.RuleStmt,
)
_NO_RELATION = frozenset((b"42P01",))


@dataclass(frozen=True, slots=True)
class Chosen:
    """A statement to run. ``name`` is an extension's.

    The load continues if it fails with one of ``may_fail`` (SQLSTATEs), which is reported if
    ``reported``.
    """

    statement: Statement
    may_fail: frozenset[bytes] = frozenset()
    reported: bool = True
    makes: Literal["extension", "foreign key"] | None = None
    name: str = ""


class Choice:
    """Chooses what to run for each statement of a script, and records what is left out.

    ``settings`` are those that the script has for its database, as in pg_db_role_setting. ``roles``
    are the logins that may be named, by the names that the script has for them; ``version`` is the
    server's, as PostgreSQL numbers it.
    """

    def __init__(self, roles: Mapping[str, str], version: int) -> None:
        self._roles = roles
        self._version = version
        self.settings: dict[str, str] = {}
        self._unknown: set[str] = set()
        self._tablespaces: set[str] = set()
        self._reported: list[str] = []
        self._something_is_there = False
        self._lacks_extensions = False

    @property
    def left_out(self) -> list[str]:
        """Return what the user should know was left out."""
        return [
            *_list("owners and grants for", self._unknown),
            *_list("tablespaces:", self._tablespaces),
            *self._reported,
        ]

    def report(self, what: str) -> None:
        """Add to what was left out, unless the list is already too long to be read."""
        if len(self._reported) < _MOST_REPORTED:
            self._reported.append(what)

    def failed(self, chosen: Chosen, why: str, code: bytes | None) -> None:
        """Note the allowed failure of a statement, with the server's message and its SQLSTATE."""
        if chosen.makes == "extension":
            self._lacks_extensions = True
            if code == _NOT_ALLOWED:
                why = "tenants cannot have it"
            elif code in _NOT_AVAILABLE:
                why = "this server does not have it"
            self.report(f"EXTENSION {chosen.name}: {why}")
        elif chosen.reported:
            self.report(f"{_beginning(chosen.statement)} ({why})")

    def chosen(self, statement: Statement) -> Chosen | None:
        """Return the statement to run in place of one, None for none.

        One that cannot be parsed is run as it is: the server may have a newer grammar. Left out are
        the statements that drop or alter objects before there are any, with which pg_dump --clean
        begins, and those that create the database, of pg_dump --create.

        Raises Refused if it is about more than one database.
        """
        if statement.verb in _DATA:
            return self._chosen_data(statement)
        node = parsed(statement)
        begins = not self._something_is_there
        if is_there_already(node) or (begins and drops_or_creates_a_database(node)):
            return None
        if self._is_only_noted(statement, node):
            return None
        if isinstance(node, OF_A_SERVER):
            raise Refused(
                f"Line {statement.line} makes or changes databases, roles or tablespaces.",
                hint=FOR_ONE_DATABASE,
            )
        if gives_away(node):
            return self._granted(statement, node)
        self._something_is_there |= not isinstance(node, _MAKES_NOTHING)
        if isinstance(node, ast.CreatePolicyStmt | ast.AlterPolicyStmt):
            return self._policy(statement, node)
        chosen = _adapted(self._here(statement, node), node)
        lenient = self._lacks_extensions and not chosen.may_fail
        return replace(chosen, may_fail=_without_extensions(node)) if lenient else chosen

    def _is_only_noted(self, statement: Statement, node: Any) -> bool:
        if self._sets_for_the_database(node):
            self._set_for_the_database(statement, node.setstmt)
        elif cannot_be_here(node) or sets_for_a_login_there(node):
            self.report(_beginning(statement))
        elif (tablespaces := moves_to(node)) is not None and not gives_away(node):
            self._note_tablespaces(tablespaces)
        else:
            return False
        return True

    def _here(self, statement: Statement, node: Any) -> Statement:
        """Return the statement without owners and tablespaces, which are noted."""
        if isinstance(node, ast.AlterTableStmt):
            statement, taken = without_changes_of_place(statement, node)
            self._note_tablespaces(each.name for each in taken if each.newowner is None)
            self._note_unknown(each.newowner for each in taken if each.newowner is not None)
        statement, tablespaces = without_tablespaces(statement)
        self._note_tablespaces(tablespaces)
        return statement

    def _sets_for_the_database(self, node: Any) -> bool:
        if isinstance(node, ast.AlterRoleSetStmt):
            role: Any = node.role  # None means all roles
            return node.database is not None and (role is None or role.rolename in self._roles)
        return isinstance(node, ast.AlterDatabaseSetStmt)

    def _set_for_the_database(self, statement: Statement, change: Any) -> None:
        value = database_setting(change)
        if value is None:
            self.report(_beginning(statement))
        elif len(self.settings) < _MOST_REPORTED:
            self.settings[change.name] = value

    def _chosen_data(self, statement: Statement) -> Chosen | None:
        if statement.text.startswith(_UNLINKS) and not self._something_is_there:
            return None
        if statement.text.strip() == EMPTIES_SEARCH_PATH:
            return None
        if statement.text.startswith(_STATISTICS) and self._version < _WITH_STATISTICS:
            return None  # the server collects its own
        missing = _MISSING if statement.verb == b"COPY" and self._lacks_extensions else frozenset()
        return Chosen(statement, missing)

    # ── roles ────────────────────────────────────────────────────────────────

    def _granted(self, statement: Statement, node: Any) -> Chosen | None:
        """Leave out owners, and grants except those to mapped roles."""
        roles = roles_in(node)
        if isinstance(node, ast.GrantStmt) and node.is_grant:
            named = [each for each in roles if each.roletype == RoleSpecType.ROLESPEC_CSTRING]
            known = [each for each in named if each.rolename in self._roles]
            self._unknown.update(each.rolename for each in named if each not in known)
            if not known:
                return None
            return Chosen(self._renamed(statement, roles, known), _MISSING | {_NOT_ALLOWED})
        if isinstance(node, ast.AlterDefaultPrivilegesStmt) and any(
            each.rolename in self._roles for each in roles
        ):
            self.report(_beginning(statement))
            return None
        self._note_unknown(roles)
        return None

    def _note_unknown(self, roles: Iterable[Any]) -> None:
        self._unknown.update(
            each.rolename for each in roles if each.rolename and each.rolename not in self._roles
        )

    def _note_tablespaces(self, names: Iterable[str]) -> None:
        self._tablespaces.update(name for name in names if name not in _DEFAULT_TABLESPACES)

    def _policy(self, statement: Statement, node: Any) -> Chosen | None:
        """Return a policy for those of its roles that are mapped; None without any."""
        roles = node.roles or ()
        known = [
            each
            for each in roles
            if each.roletype != RoleSpecType.ROLESPEC_CSTRING or each.rolename in self._roles
        ]
        unknown = [each.rolename for each in roles if each not in known]
        if unknown:
            done = "made without" if known else "left out, unknown here:"
            self.report(
                f"policy {node.policy_name} on {_table(node.table)}: {done} role"
                f"{'s' * (len(unknown) > 1)} {', '.join(unknown)}"
            )
        if roles and not known:
            return None
        return Chosen(self._renamed(statement, roles, known), _MISSING)

    def _renamed(self, statement: Statement, roles: Any, known: list[Any]) -> Statement:
        """Return the statement for these of its roles, under their names here."""
        if all(each.roletype != RoleSpecType.ROLESPEC_CSTRING for each in roles):
            return statement  # where none is written, the parser returns PUBLIC, without a position
        text, _ = decoded(statement.text)
        ends = {token.start: token.end + 1 for token in parser.scan(text)}
        names = [
            quoted(self._roles[each.rolename])
            if each.roletype == RoleSpecType.ROLESPEC_CSTRING
            else text[each.location : ends[each.location]]
            for each in known
        ]
        start, end = roles[0].location, ends[roles[-1].location]
        return spliced(statement, start, end, ", ".join(dict.fromkeys(names)))


# ── statements ───────────────────────────────────────────────────────────────


def _beginning(statement: Statement) -> str:
    return statement.text[:_LONGEST_REPORTED].decode(errors="replace")


def _list(what: str, names: Iterable[str]) -> list[str]:
    """Return one line that lists these names, if there are any."""
    listed = ", ".join(sorted(names))
    return [f"{what} {listed}"] if listed else []


def _table(relation: Any) -> str:
    return ".".join(filter(None, (relation.schemaname, relation.relname)))


def _adapted(statement: Statement, node: Any) -> Chosen:
    """Return a statement as it is run, with the failures that are allowed."""
    chosen = Chosen(statement)
    match node:
        case ast.VariableSetStmt() if (
            node.name != "role"
        ):  # a newer pg_dump sets what only newer servers have
            may_fail = frozenset((_UNKNOWN_SETTING, _NOT_ALLOWED))
            chosen = Chosen(statement, may_fail, reported=node.name not in _LIMITS)
        case ast.CommentStmt():
            chosen = Chosen(statement, _MISSING | {_NOT_ALLOWED}, reported=False)
        case ast.DropStmt():  # of something that is not there
            chosen = Chosen(statement, _MISSING, reported=False)
        case ast.CreateSchemaStmt():
            chosen = Chosen(without_owner(statement, node))
        case ast.CreateExtensionStmt():
            made = _with_schema(statement, node)
            chosen = Chosen(made, _NO_EXTENSION, makes="extension", name=str(node.extname))
        case ast.AlterExtensionStmt(extname=name) | ast.CreatePLangStmt(plname=name):
            chosen = Chosen(statement, _NO_EXTENSION, makes="extension", name=str(name))
        case ast.CreateTrigStmt() | ast.CreatePublicationStmt() | ast.AlterPublicationStmt():
            chosen = Chosen(statement, _MISSING | {_NOT_ALLOWED})
        case ast.AlterTableStmt() if is_foreign_key(node):
            chosen = Chosen(statement, _MISSING, makes="foreign key")
        case ast.AlterTableStmt() if only_drops(node):
            chosen = Chosen(statement, _MISSING, reported=False)
    return chosen


def _without_extensions(node: Any) -> frozenset[bytes]:
    """Return the SQLSTATEs with which a statement may fail where an extension is missing."""
    if isinstance(node, _GOES_WITH_IT):
        return _MISSING
    return _NO_RELATION if isinstance(node, ast.IndexStmt) else frozenset()


def _with_schema(statement: Statement, node: Any) -> Statement:
    """Return the statement after one that creates the schema for the extension."""
    names = [each.arg.sval for each in node.options or () if each.defname == "schema"]
    if not names or names[0].startswith("pg_"):  # reserved by PostgreSQL
        return statement
    make = f"CREATE SCHEMA IF NOT EXISTS {quoted(names[0])}; "
    return replace(statement, text=make.encode() + statement.text)
