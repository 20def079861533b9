"""Who is next in a run over many databases, and which files others may wait for. Pure."""

from collections import Counter
from collections.abc import Sequence

from pglast import ast

from tenantry.control.migration_runs import TargetRow
from tenantry.services.migrations import lint
from tenantry.services.migrations.model import Script

_ENVIRONMENTS = ("development", "staging", "production")
# What changes the shape of results that others have prepared.
_SHAPES = (
    ast.AlterTableStmt,
    ast.AlterEnumStmt,
    ast.CreateFunctionStmt,
    ast.DropStmt,
    ast.RenameStmt,
    ast.AlterObjectSchemaStmt,
    ast.ViewStmt,
)
# What takes long, if the table is large.
_SLOW = {
    "column-rewrites-table",
    "constraint-builds-index",
    "constraint-scans-table",
    "index-blocks-writes",
    "not-null-scans-table",
    "reindex-blocks-writes",
    "refresh-blocks-reads",
    "rewrites-table",
    "touches-all-rows",
    "type-rewrites-table",
    "unreadable",
}
_QUICK = (
    *_SHAPES,
    ast.AlterOwnerStmt,
    ast.AlterPolicyStmt,
    ast.CommentStmt,
    ast.CreateEnumStmt,
    ast.CreatePolicyStmt,
    ast.CreateSchemaStmt,
    ast.CreateStmt,
    ast.CreateTrigStmt,
    ast.GrantStmt,
    ast.IndexStmt,
    ast.VariableSetStmt,
)


def may_hold_others(script: Script) -> bool:
    """Whether clients are better off waiting for this file than running into it.

    It changes what they may have prepared, and is over at once: it touches the catalog only.
    What takes long they had better not wait for.
    """
    parts = script.statements
    return (
        script.transactional
        and any(isinstance(part.node, _SHAPES) for part in parts)
        and all(isinstance(part.node, _QUICK) for part in parts)
        and not any(found.rule.id in _SLOW for found in _unsilenced(script))
    )


def _unsilenced(script: Script) -> list[lint.Finding]:
    return lint.check_script(script, heed_pragmas=False)


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
