"""The order of a run over many databases, and which files outdate prepared plans. Pure."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from pglast import ast

from tenantry.control.migration_runs import TargetRow
from tenantry.pg import statements
from tenantry.pg.statements import Unreadable
from tenantry.services.migrations.model import Script

_ENVIRONMENTS = ("development", "staging", "production")
# Statements that change the result types of prepared statements, or may contain some that do.
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
    """Whether this file may outdate plans that other sessions have prepared."""
    return _remembered(script) if len(script.sql) <= _REMEMBERED else _may_outdate(script)


def _may_outdate(script: Script) -> bool:
    try:
        parts = statements.split(script.sql)
    except Unreadable:
        return True
    return any(isinstance(part.node, _SHAPES) for part in statements.without_rows(parts))


_remembered = lru_cache(maxsize=64)(_may_outdate)


def rank(environment: str, name: str) -> tuple[int, str]:
    """Return the sort key of a database in a run over many: the least important ones go first."""
    return _ENVIRONMENTS.index(environment), name


def startable(targets: Sequence[TargetRow], *, canary: int, max_failures: int) -> list[int]:
    """Return the positions of the databases that may begin now; none once the run has to stop."""
    first = targets[:canary]
    if failed(first) or failed(targets) > max_failures:
        return []
    settled = all(each.status in {"succeeded", "skipped"} for each in first)
    return [each.position for each in (targets if settled else first) if each.status == "pending"]


def failed(targets: Sequence[TargetRow]) -> int:
    """Return how many databases failed."""
    return sum(each.status == "failed" for each in targets)


def counts(targets: Sequence[TargetRow]) -> dict[str, object]:
    """Return how many databases have each status."""
    found = Counter(each.status for each in targets)
    return {
        "databases": len(targets),
        **{status: found[status] for status in ("succeeded", "failed", "skipped", "pending")},
    }


def summary(targets: Sequence[TargetRow]) -> str:
    """Return why a run was stopped, for users."""
    found = counts(targets)
    worst = next((each for each in targets if each.status == "failed"), None)
    text = (
        f"Of {found['databases']} databases, {found['failed']} failed, {found['succeeded']} "
        f"succeeded, and {found['pending']} did not begin."
    )
    if worst is not None and worst.error:
        text += f" {worst.name or worst.database_name}: {worst.error.get('detail', '')}"
    return text
