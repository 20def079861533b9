"""Who is next in a run over many databases, and which files outdate others' plans. Pure."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from pglast import ast

from tenantry.control.migration_runs import TargetRow
from tenantry.pg import statements
from tenantry.pg.statements import Unreadable
from tenantry.services.migrations.model import Script

_ENVIRONMENTS = ("development", "staging", "production")
# What changes the shape of results that others have prepared, or may hide something that does.
_SHAPES = (
    ast.AlterExtensionStmt,
    ast.AlterObjectSchemaStmt,
    ast.AlterTableStmt,
    ast.CallStmt,
    ast.DoStmt,
    ast.DropStmt,
    ast.RenameStmt,
    ast.RuleStmt,
    ast.ViewStmt,
)
_REMEMBERED = 64 * 1024  # characters of a file


def may_outdate(script: Script) -> bool:
    """Whether plans that others have prepared may be outdated after this file."""
    return _remembered(script) if len(script.sql) <= _REMEMBERED else _may_outdate(script)


def _may_outdate(script: Script) -> bool:
    try:
        parts = statements.split(script.sql)
    except Unreadable:
        return True
    return any(isinstance(part.node, _SHAPES) for part in statements.without_rows(parts))


_remembered = lru_cache(maxsize=64)(_may_outdate)


def rank(environment: str, name: str) -> tuple[int, str]:
    """Where a database comes in a run over many: those that matter least go first."""
    return _ENVIRONMENTS.index(environment), name


def startable(targets: Sequence[TargetRow], *, canary: int, max_failures: int) -> list[int]:
    """The positions of the databases that may be begun now; none once the run has to stop."""
    first = targets[:canary]
    if failed(first) or failed(targets) > max_failures:
        return []
    settled = all(each.status in {"succeeded", "skipped"} for each in first)
    return [each.position for each in (targets if settled else first) if each.status == "pending"]


def failed(targets: Sequence[TargetRow]) -> int:
    """How many databases failed."""
    return sum(each.status == "failed" for each in targets)


def counts(targets: Sequence[TargetRow]) -> dict[str, object]:
    """How many databases are how."""
    found = Counter(each.status for each in targets)
    return {
        "databases": len(targets),
        **{status: found[status] for status in ("succeeded", "failed", "skipped", "pending")},
    }


def told(targets: Sequence[TargetRow]) -> str:
    """Why a run was stopped, for people."""
    found = counts(targets)
    worst = next((each for each in targets if each.status == "failed"), None)
    text = (
        f"Of {found['databases']} databases {found['failed']} failed, {found['succeeded']} are "
        f"migrated and {found['pending']} were not begun."
    )
    if worst is not None and worst.error:
        text += f" {worst.name or worst.database_name}: {worst.error.get('detail', '')}"
    return text
