"""Migrations of the control database only add, for as long as earlier code works with it."""

from importlib import resources

from tenantry.control.store import MIGRATIONS
from tenantry.services import control_schema
from tenantry.services.migrations import lint
from tenantry.services.migrations.folder import load
from tenantry.services.migrations.plan import collect

# After these, statements of the release before fail or find other things.
CONTRACTS = {
    "column-without-default",
    "drops-column",
    "drops-dependents",
    "drops-table",
    "not-null-scans-table",
    "renames",
    "type-rewrites-table",
    "unreadable",
}


def contracting(files: dict[str, bytes] | None = None) -> list[str]:
    """The statements that the release before does not work with, unless it is said so."""
    folder = load(resources.files(MIGRATIONS)) if files is None else collect(files)
    later = [each for each in folder if each.version > control_schema.COMPATIBLE_FROM]
    return [
        f"{found.file}:{found.line} {found.rule.id} {found.object}"
        for migration in later
        if migration.up is not None
        for found in lint.check_script(migration.up)
        if found.rule.id in CONTRACTS
    ]


def test_earlier_code_works_with_each_migration() -> None:
    """See "Migrations of the control database" in CONTRIBUTING.md if this fails."""
    assert contracting() == []
    assert control_schema.newest() >= control_schema.COMPATIBLE_FROM


def test_a_migration_that_removes_is_found() -> None:
    files = {
        "000900_expand.up.sql": b"ALTER TABLE databases ADD COLUMN a int NOT NULL DEFAULT 0;",
        "000901_contract.up.sql": b"ALTER TABLE databases DROP COLUMN b, ALTER c SET NOT NULL;",
        "000902_rename.up.sql": b"ALTER TABLE databases RENAME COLUMN d TO e; DROP TABLE f;",
    }
    assert contracting(files) == [
        "000901_contract.up.sql:1 drops-column databases",
        "000901_contract.up.sql:1 not-null-scans-table databases",
        "000902_rename.up.sql:1 renames databases",
        "000902_rename.up.sql:1 drops-table f",
    ]
