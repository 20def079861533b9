"""Triggers and foreign keys that a script turns off while it loads data.

pg_dump --disable-triggers writes ALTER TABLE … DISABLE TRIGGER ALL, others set
session_replication_role. Both need a superuser, because they switch off foreign keys. An owner may
drop those and create them again: which also finds violating rows, where a superuser would have
accepted them unseen. So foreign keys are restored at the end; one that rows violate is NOT VALID.
"""

from typing import Any

from pglast import ast, parser
from pglast.enums import AlterTableType, VariableSetKind

from tenantry.pg.script_session import FOREIGN_KEY_VIOLATION, Failed, Session
from tenantry.pg.script_statements import decoded, parsed, spliced
from tenantry.pg.scripts import Statement

_KEYS = b"""
    SELECT format('%I.%I', n.nspname, c.relname), quote_ident(k.conname),
        pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relowner = current_user::regrole
    ORDER BY k.oid
"""
_TRIGGERS = b"""
    SELECT format('%I.%I', n.nspname, c.relname), quote_ident(t.tgname)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled = 'O'
        AND c.relkind IN ('r', 'p') AND c.relowner = current_user::regrole
    ORDER BY t.oid
"""


class Triggers:
    """The triggers and foreign keys that are turned off until ``restore``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._triggers: list[list[bytes]] = []
        self._keys: list[list[bytes]] = []

    def disable(self) -> None:
        """Turn off what session_replication_role = replica turns off. Raises Failed."""
        self.suspend_foreign_keys()
        found = self._session.look(_TRIGGERS)
        for table, trigger in found:
            self._session.rows(b"ALTER TABLE %s DISABLE TRIGGER %s" % (table, trigger))
        self._triggers += found

    def enable(self) -> None:
        """Turn triggers on again. Raises Failed."""
        for table, trigger in self._triggers:
            self._session.rows(b"ALTER TABLE %s ENABLE TRIGGER %s" % (table, trigger))
        self._triggers = []

    def suspend_foreign_keys(self) -> None:
        """Drop all foreign keys, until ``restore``. Raises Failed."""
        found = self._session.look(_KEYS)
        for table, name, _ in found:
            self._session.rows(b"ALTER TABLE %s DROP CONSTRAINT %s" % (table, name))
        self._keys += found

    def restore(self) -> list[str]:
        """Restore all of it. Returns what could not be restored unchanged. Raises Failed."""
        self.enable()
        changes = [
            b"ALTER TABLE %s ADD CONSTRAINT %s %s" % (table, name, definition)
            for table, name, definition in self._keys
        ]
        return [
            reported for change in changes if (reported := add_foreign_key(self._session, change))
        ]


def add_foreign_key(session: Session, change: bytes) -> str:
    """Run an ALTER TABLE … ADD FOREIGN KEY, NOT VALID if rows violate it.

    Returns what to report of it, empty if it is valid. Raises Failed.
    """
    try:
        with session.savepoint():
            session.rows(change)
    except Failed as error:
        if error.code != FOREIGN_KEY_VIOLATION:
            raise
        why = error.said
    else:
        return ""
    readable = change.decode(errors="replace")
    try:
        with session.savepoint():
            session.rows(change + b" NOT VALID")
    except Failed:  # before version 18 a partitioned table cannot have one
        return f"{readable} (left out: {why})"
    return f"{readable} (NOT VALID: {why})"


def disables_triggers(statement: Statement) -> Statement | None:
    """Return ``ALTER TABLE … DISABLE (ENABLE) TRIGGER ALL`` as an owner may run it, else None.

    ALL includes those of foreign keys, which only a superuser may disable.
    """
    node = parsed(statement) if statement.verb == b"ALTER" else None
    if not isinstance(node, ast.AlterTableStmt) or len(node.cmds or ()) != 1:
        return None
    commands: Any = node.cmds
    if commands[0].subtype not in {
        AlterTableType.AT_DisableTrigAll,
        AlterTableType.AT_EnableTrigAll,
    }:
        return None
    last = [each for each in parser.scan(decoded(statement.text)[0]) if each.name == "ALL"][-1]
    return spliced(statement, last.start, last.end + 1, "USER")


def replicates(statement: Statement) -> bool | None:
    """Whether ``SET session_replication_role`` turns triggers and foreign keys off (or on).

    True is off, False is on; None for other statements. Only a superuser may set it.
    """
    node = parsed(statement) if statement.verb in {b"SET", b"RESET"} else None
    if not isinstance(node, ast.VariableSetStmt) or node.name != "session_replication_role":
        return None
    arguments: Any = node.args or ()
    return node.kind == VariableSetKind.VAR_SET_VALUE and any(
        getattr(each.val, "sval", "").lower() == "replica" for each in arguments
    )
