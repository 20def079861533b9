"""The order of a run over many databases, what is said of it, and which files outdate prepared
plans. Pure.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from pglast import ast

from tenantry.base.errors import TenantryError
from tenantry.control.migration_runs import TargetRow, TargetStatus
from tenantry.control.operations import OperationRow
from tenantry.pg import statements
from tenantry.pg.statements import Unreadable
from tenantry.services.migrations.model import (
    Direction,
    EditedMigrations,
    MigrationNotFound,
    Script,
    SkippedMigrations,
)
from tenantry.services.migrations.plan import parse_name
from tenantry.services.tenant_migrations.model import FleetSummary, Selection

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
# What a folder that is not the one of a database's blueprint leads to.
_OF_OTHER_FILES = (MigrationNotFound, EditedMigrations, SkippedMigrations)
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


def explained(error: TenantryError, blueprint: str | None) -> TenantryError:
    """Return an error in one database, which names the blueprint that may be why."""
    if blueprint is not None and isinstance(error, _OF_OTHER_FILES):
        error.detail = f"It has the blueprint {blueprint}. {error.detail}"
        error.hint = (
            "Are these the files of that blueprint? If not, leave the database out of the run, or "
            "select those without a blueprint."
        )
    return error


def last_file(names: Iterable[str]) -> str | None:
    """Return the name of the file with the highest version that goes up."""
    found = {name: parse_name(name) for name in names}
    upward = [(each[0], name) for name, each in found.items() if each and each[2] is Direction.UP]
    return max(upward)[1] if upward else None


def described(selection: Selection) -> str:
    """Return which databases are selected, in words."""
    parts = [
        selection.environment,
        f"of {selection.owner}" if selection.owner else None,
        f"with blueprint {selection.blueprint}" if selection.blueprint else None,
        "without blueprint" if selection.without_blueprint else None,
        f"tagged {' and '.join(selection.tags)}" if selection.tags else None,
        None if selection.databases is None else f"{len(selection.databases)} by name",
        f"{len(selection.excluded)} left out" if selection.excluded else None,
    ]
    return ", ".join(each for each in parts if each) or "all"


def summed_up(
    operation: OperationRow, counts: Mapping[uuid.UUID, Mapping[TargetStatus, int]]
) -> FleetSummary:
    """Return what there is to know about a run at a glance."""
    params = operation.params
    return FleetSummary(
        operation,
        params.get("last_file"),
        params.get("selection"),
        counts.get(operation.id, {}),
    )
