"""What of a script is carried out: all but what pg_restore leaves out of a dump that is imported.

Owners and grants name roles of the server that the script is from. What needs a superuser cannot
be here. And whole databases, roles and tablespaces are not one database's contents.
"""

from typing import Any

from pglast import ast, parser
from pglast.enums import AlterTableType, ObjectType

from tenantry.pg.scripts import FOR_ONE_DATABASE, Refused, Statement

# Never left out, and may be as long as a table.
_DATA = {b"INSERT", b"COPY", b"SELECT", b"UPDATE", b"DELETE", b"WITH"}
_UNLINKS = b"SELECT pg_catalog.lo_unlink("
# By which pg_dump has functions not find what they name without its schema.
_EMPTIES_SEARCH_PATH = b"SELECT pg_catalog.set_config('search_path', '', false);"
_MOST_PARSED = 1024 * 1024
_LONGEST_TOLD = 200  # bytes
_OF_A_SERVER = (
    ast.CreatedbStmt,
    ast.DropdbStmt,
    ast.AlterDatabaseStmt,
    ast.AlterDatabaseSetStmt,
    ast.CreateRoleStmt,
    ast.AlterRoleStmt,
    ast.AlterRoleSetStmt,
    ast.DropRoleStmt,
    ast.GrantRoleStmt,
    ast.CreateTableSpaceStmt,
    ast.DropTableSpaceStmt,
)
_NEEDS_A_SUPERUSER = (
    ast.CreateEventTrigStmt,
    ast.AlterEventTrigStmt,
    ast.CreatePublicationStmt,
    ast.AlterPublicationStmt,
    ast.CreateSubscriptionStmt,
    ast.AlterSubscriptionStmt,
    ast.CreateFdwStmt,
    ast.CreateForeignServerStmt,
    ast.CreateUserMappingStmt,
)
_COMMENTS = {
    ObjectType.OBJECT_DATABASE,
    ObjectType.OBJECT_EVENT_TRIGGER,
    ObjectType.OBJECT_EXTENSION,
    ObjectType.OBJECT_PUBLICATION,
    ObjectType.OBJECT_SUBSCRIPTION,
}
_OF_THE_OTHER_SERVER = {"default_tablespace", "session_authorization"}
_MAKES_NOTHING = (ast.VariableSetStmt, ast.TransactionStmt)


class Choice:
    """Says of each statement of a script whether it is carried out, and keeps what was left out."""

    def __init__(self) -> None:
        self._roles: set[str] = set()
        self._told: list[str] = []
        self._something_is_there = False

    @property
    def left_out(self) -> list[str]:
        """What a person should know of."""
        of_roles = [f"owners and grants for {', '.join(sorted(self._roles))}"] * bool(self._roles)
        return [*of_roles, *self._told]

    def tell(self, statement: Statement) -> None:
        """Have it among what was left out."""
        self._told.append(statement.text[:_LONGEST_TOLD].decode(errors="replace"))

    def takes(self, statement: Statement) -> bool:
        """Whether it is to be carried out. So is what cannot be parsed: the server may know more.

        What drops or alters things before there are any is what pg_dump --clean begins with.

        Raises Refused if it is about more than one database.
        """
        if statement.verb in _DATA:
            if statement.text.strip() == _EMPTIES_SEARCH_PATH:
                return False
            return self._something_is_there or not statement.text.startswith(_UNLINKS)
        node = _parsed(statement)
        if isinstance(node, _OF_A_SERVER):
            raise Refused(
                f"Line {statement.line} makes or changes databases, roles or tablespaces.",
                hint=FOR_ONE_DATABASE,
            )
        if isinstance(node, _NEEDS_A_SUPERUSER):
            self.tell(statement)
            return False
        if (roles := _roles_in(node)) is not None:
            self._roles.update(role.rolename for role in roles if role.rolename)
            return False
        drops = isinstance(node, ast.DropStmt | ast.AlterTableStmt)
        if _is_there_already(node) or (drops and not self._something_is_there):
            return False
        self._something_is_there |= not isinstance(node, _MAKES_NOTHING)
        return True


def _parsed(statement: Statement) -> Any:
    """What a statement says, if our parser takes it."""
    if len(statement.text) > _MOST_PARSED:
        return None
    try:
        found: Any = parser.parse_sql(statement.text.decode(errors="replace"))
    except (parser.ParseError, RecursionError):
        return None
    return found[0].stmt if len(found) == 1 else None


def _roles_in(node: Any) -> list[Any] | None:
    """The roles whom it gives something to; None if that is not what it does."""
    if isinstance(node, ast.AlterOwnerStmt):
        return [node.newowner]
    if isinstance(node, ast.AlterTableStmt):
        commands: Any = node.cmds
        to = [each.newowner for each in commands if each.subtype == AlterTableType.AT_ChangeOwner]
        return to if len(to) == len(commands) else None
    if isinstance(node, ast.AlterDefaultPrivilegesStmt):
        node = node.action
    if isinstance(node, ast.GrantStmt):
        return list(node.grantees or ())
    is_set_to = isinstance(node, ast.VariableSetStmt) and node.name in _OF_THE_OTHER_SERVER
    return [] if is_set_to or isinstance(node, ast.SecLabelStmt) else None


def _is_there_already(node: Any) -> bool:
    if isinstance(node, ast.CreateSchemaStmt):
        return bool(node.schemaname == "public")
    if isinstance(node, ast.CreateExtensionStmt):
        return bool(node.extname == "plpgsql")
    if not isinstance(node, ast.CommentStmt):
        return False
    if node.objtype == ObjectType.OBJECT_SCHEMA:
        name: Any = node.object
        return bool(name.sval == "public")
    return node.objtype in _COMMENTS
