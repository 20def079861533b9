"""A program that lists a script's contents, without a server: ``python -m … FILE ROOM``.

``ROOM`` is how many bytes the target database may take. It prints ``{"version": …, "schemas": […],
"tables": [[schema, name], …], "extensions": […], "roles": [[schema, name, use, count], …]}``, or
``{"refused": …, "hint": …}``. The version is that of the dumped server, if the script has it; the
use of a role is ``policies``, ``grants`` or ``owns``.

A script may take hours to parse: so it runs as a child (``host.children``).
"""

import io
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pglast import ast
from pglast.enums import RoleSpecType

from tenantry.pg.script_kinds import roles_in
from tenantry.pg.script_loading import Unpacked
from tenantry.pg.script_statements import parsed
from tenantry.pg.scripts import Refused, Script, Statement

_MOST_NAMES = 20_000
_BUFFER = 1024 * 1024
_HEAD_BYTES = 64 * 1024
_VERSION = re.compile(rb"^-- Dumped from database version (\S+)", re.MULTILINE)
_LOOKED_AT = {b"CREATE", b"GRANT", b"ALTER"}
_TAKES_DATA = re.compile(rb"\bFROM\s+STDIN\b", re.IGNORECASE)
_SETTING = re.compile(
    rb"SET\s+(client_encoding|standard_conforming_strings)\s*(?:=|TO)\s*'?(\w+)", re.IGNORECASE
)


class _Survey:
    """The contents found in a script."""

    def __init__(self, file: io.BufferedReader) -> None:
        found = _VERSION.search(file.peek(_HEAD_BYTES))
        self.version = found[1].decode(errors="replace") if found else None
        self.schemas: dict[str, None] = {}
        self.tables: dict[tuple[str, str], None] = {}
        self.extensions: dict[str, None] = {}
        self.roles: Counter[tuple[str, str, str]] = Counter()
        self._settings = {b"standard_conforming_strings": b"on", b"client_encoding": b"UTF8"}
        self._script = Script(file, lambda name: self._settings[name.encode()])

    def read(self) -> None:
        """Read all of it. Raises Refused."""
        for statement in self._script.statements():
            if statement.verb == b"COPY" and _TAKES_DATA.search(statement.text):
                for _ in self._script.data():
                    pass
            elif (setting := _SETTING.match(statement.text)) is not None:
                self._settings[setting[1].lower()] = setting[2].upper().replace(b"OFF", b"off")
            elif statement.verb in _LOOKED_AT:
                self._take(statement)
            if len(self.tables) + len(self.roles) > _MOST_NAMES:
                raise Refused(f"It names more than {_MOST_NAMES:,} tables and roles.")

    def _take(self, statement: Statement) -> None:
        node: Any = parsed(statement)
        kind = type(node)  # compared, since the tree's types allow None for each part
        if kind is ast.CreateSchemaStmt:
            owner = node.authrole and node.authrole.rolename
            self.schemas[node.schemaname or owner] = None
            if owner:
                self.roles[node.schemaname or owner, owner, "owns"] += 1
        elif kind is ast.CreateStmt:
            schema = node.relation.schemaname or "public"
            self.schemas[schema] = None
            self.tables[schema, node.relation.relname] = None
        elif kind is ast.CreateExtensionStmt:
            self.extensions[node.extname] = None
        elif kind in {ast.CreatePolicyStmt, ast.AlterPolicyStmt}:
            self._count(node.table.schemaname, "policies", node.roles)
        elif kind is ast.GrantStmt and node.is_grant:
            self._count(None, "grants", node.grantees)
        elif kind is ast.AlterOwnerStmt:
            self._count(None, "owns", roles_in(node))
        elif kind is ast.AlterTableStmt:
            changes = [each.newowner for each in node.cmds if each.newowner is not None]
            self._count(None, "owns", changes)

    def _count(self, schema: str | None, use: str, roles: Any) -> None:
        for each in roles or ():
            if each.roletype == RoleSpecType.ROLESPEC_CSTRING:
                self.roles[schema or "public", each.rolename, use] += 1

    def as_json(self) -> dict[str, object]:
        return {
            "version": self.version,
            "schemas": list(self.schemas),
            "tables": list(self.tables),
            "extensions": list(self.extensions),
            "roles": [[*key, count] for key, count in self.roles.items()],
        }


def main() -> None:
    """Run the program. The process ends with 0 if it has printed a result."""
    path, room = sys.argv[1:]
    reported: dict[str, object]
    try:
        with Path(path).open("rb") as file:
            survey = _Survey(io.BufferedReader(Unpacked(file, int(room)), _BUFFER))
            survey.read()
        reported = survey.as_json()
    except Refused as refused:
        reported = {"refused": refused.detail, "hint": refused.hint}
    except MemoryError:
        reported = {"refused": "It takes too much memory.", "hint": "Send it in the custom format."}
    sys.stdout.write(json.dumps(reported))


if __name__ == "__main__":
    main()
