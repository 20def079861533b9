"""The kinds of statements in a script, by what can be done with them in one tenant's database."""

from typing import Any

from pglast import ast
from pglast.enums import (
    AlterPublicationAction,
    AlterTableType,
    ConstrType,
    ObjectType,
    PublicationObjSpecType,
)

# Statements about the database itself, with which pg_dump --create begins.
_OF_A_DATABASE = (ast.CreatedbStmt, ast.DropdbStmt, ast.AlterDatabaseStmt)
OF_A_SERVER = (
    *_OF_A_DATABASE,
    ast.CreateRoleStmt,
    ast.AlterRoleStmt,
    ast.AlterRoleSetStmt,
    ast.DropRoleStmt,
    ast.GrantRoleStmt,
    ast.CreateTableSpaceStmt,
    ast.DropTableSpaceStmt,
)
_NEEDS_A_SUPERUSER = (
    ast.AlterSystemStmt,
    ast.LoadStmt,
    ast.CreateEventTrigStmt,
    ast.AlterEventTrigStmt,
    ast.CreateSubscriptionStmt,
    ast.AlterSubscriptionStmt,
    ast.CreateFdwStmt,
    ast.CreateForeignServerStmt,
    ast.CreateForeignTableStmt,
    ast.ImportForeignSchemaStmt,
    ast.CreateUserMappingStmt,
)
_COMMENTS = {
    ObjectType.OBJECT_DATABASE,
    ObjectType.OBJECT_EVENT_TRIGGER,
    ObjectType.OBJECT_EXTENSION,
    ObjectType.OBJECT_LANGUAGE,
    ObjectType.OBJECT_ROLE,
    ObjectType.OBJECT_SUBSCRIPTION,
    ObjectType.OBJECT_TABLESPACE,
}
_GIVES_AWAY = (
    ast.AlterDefaultPrivilegesStmt,
    ast.AlterOwnerStmt,
    ast.DropOwnedStmt,
    ast.GrantStmt,
    ast.ReassignOwnedStmt,
    ast.SecLabelStmt,
)
_DROPS = (ast.DropStmt, ast.DropSubscriptionStmt, ast.DropUserMappingStmt)
_DROPPING = {
    AlterTableType.AT_DropConstraint,
    AlterTableType.AT_DropColumn,
    AlterTableType.AT_DropIdentity,
    AlterTableType.AT_DetachPartition,
}
_DROPS_CONSTRAINT = "X"  # of a domain (AlterDomainStmt in PostgreSQL's parsenodes.h)


def is_foreign_key(node: Any) -> bool:
    return len(node.cmds) == 1 and (
        node.cmds[0].subtype == AlterTableType.AT_AddConstraint
        and node.cmds[0].def_.contype == ConstrType.CONSTR_FOREIGN
    )


def only_drops(node: Any) -> bool:
    return all(
        each.subtype in _DROPPING
        or (each.subtype == AlterTableType.AT_ColumnDefault and each.def_ is None)
        for each in node.cmds
    )


def drops_or_creates_a_database(node: Any) -> bool:
    """Whether a statement is one of those that pg_dump --clean or --create begins with."""
    match node:
        case ast.AlterTableStmt():
            return only_drops(node)
        case ast.AlterDomainStmt():
            return bool(node.subtype == _DROPS_CONSTRAINT)
        case ast.AlterPublicationStmt():
            return bool(node.action == AlterPublicationAction.AP_DropObjects)
    return isinstance(node, (*_DROPS, *_OF_A_DATABASE)) or _is_placeholder(node)


def cannot_be_here(node: Any) -> bool:
    if isinstance(node, ast.AlterTableStmt) and not gives_away(node):
        return bool(node.objtype == ObjectType.OBJECT_FOREIGN_TABLE)
    return isinstance(node, _NEEDS_A_SUPERUSER) or _publishes_more_than_tables(node)


def _is_placeholder(node: Any) -> bool:
    """Whether it is pg_dump --clean's placeholder for a view whose parts are dropped first."""
    if not isinstance(node, ast.ViewStmt) or not node.replace:
        return False
    query: Any = node.query
    if not isinstance(query, ast.SelectStmt) or query.fromClause or not query.targetList:
        return False
    return all(_is_null(target.val) for target in query.targetList)


def _is_null(value: Any) -> bool:
    if isinstance(value, ast.CollateClause | ast.TypeCast):
        return _is_null(value.arg)
    return isinstance(value, ast.A_Const) and bool(value.isnull)


def sets_for_a_login_there(node: Any) -> bool:
    return isinstance(node, ast.AlterRoleSetStmt) and node.database is not None


def _publishes_more_than_tables(node: Any) -> bool:
    """Whether only a superuser may publish it (PostgreSQL's manual, CREATE PUBLICATION)."""
    if not isinstance(node, ast.CreatePublicationStmt | ast.AlterPublicationStmt):
        return False
    objects: Any = node.pubobjects or ()
    return bool(node.for_all_tables) or any(
        each.pubobjtype != PublicationObjSpecType.PUBLICATIONOBJ_TABLE for each in objects
    )


def gives_away(node: Any) -> bool:
    """Whether it is about owners or rights, or for the server that the script is from."""
    if isinstance(node, ast.AlterTableStmt):
        commands: Any = node.cmds
        return all(each.subtype == AlterTableType.AT_ChangeOwner for each in commands)
    if isinstance(node, ast.VariableSetStmt):
        return bool(node.name == "session_authorization")
    return isinstance(node, _GIVES_AWAY)


def roles_in(node: Any) -> list[Any]:
    """Return the roles that such a statement gives something to."""
    if isinstance(node, ast.AlterOwnerStmt):
        return [node.newowner]
    if isinstance(node, ast.ReassignOwnedStmt):
        return [*(node.roles or ()), node.newrole]
    if isinstance(node, ast.AlterTableStmt):
        commands: Any = node.cmds
        return [each.newowner for each in commands]
    if isinstance(node, ast.AlterDefaultPrivilegesStmt):
        options: Any = node.options or ()
        makers = [role for each in options if each.defname == "roles" for role in each.arg]
        return [*roles_in(node.action), *makers]
    if isinstance(node, ast.DropOwnedStmt):
        return list(node.roles or ())
    return list(node.grantees or ()) if isinstance(node, ast.GrantStmt) else []


def is_there_already(node: Any) -> bool:
    if isinstance(node, ast.CreateSchemaStmt):
        return bool(node.schemaname == "public")
    if isinstance(node, ast.CreateExtensionStmt):
        return bool(node.extname == "plpgsql")
    if isinstance(node, ast.CreatePLangStmt):  # of servers before 9.1
        return bool(node.plname == "plpgsql")
    if not isinstance(node, ast.CommentStmt):
        return False
    if node.objtype == ObjectType.OBJECT_SCHEMA:
        name: Any = node.object
        return bool(name.sval == "public")
    return node.objtype in _COMMENTS
