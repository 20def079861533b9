"""The figures of docs/reference/limits.md are those of the code."""

from pathlib import Path

import pytest

from tenantry.base.settings import Settings
from tenantry.base.sizes import readable
from tenantry.control.pauses import PauseReason
from tenantry.host import log_files
from tenantry.pg import parameters
from tenantry.services.backups.model import MOST_MANUAL
from tenantry.services.branches import flow as branches
from tenantry.services.imports import model as imports
from tenantry.services.imports import uploads
from tenantry.services.operations import service as operations
from tenantry.services.operations.model import ROOM
from tenantry.services.overuse import plan as overuse
from tenantry.services.pooling import plan as pooling
from tenantry.services.quotas import plan as quotas
from tenantry.services.statement_log import collecting, entries
from tenantry.services.tenant_migrations import folders
from tenantry.services.tenant_migrations import service as fleet
from tenantry.services.tenant_migrations.model import STATEMENT_SECONDS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "limits.md").read_text()
TEXT = " ".join(PAGE.split())
LOG: PauseReason = "log"


def default(name: str) -> int:
    return int(Settings.model_fields[name].default)


def percent(part: float) -> str:
    return f"{part * 100:.0f} %"


@pytest.mark.parametrize(
    "said",
    [
        f"each database {MOST_MANUAL} on demand",
        f"`TENANTRY_CUSTOMER_DATABASES`: {default('customer_databases')} |",
        f"`TENANTRY_CUSTOMER_BACKUP_GB`: {default('customer_backup_gb')} GiB",
        f"most {operations._MOST_OF_A_CUSTOMER} operations that have not ended",
        f"{readable(overuse.LEAST_WAL)} at least; a bucket that leaks",
        f"{readable(overuse.MOST_SHARED)} in an hour for each database, as a bucket",
        f"{readable(overuse.MOST_QUEUED)} that nobody has taken",
        f"{readable(overuse.MOST_LOG)} in an hour for each database | paused (`{LOG}`)",
        f"or {readable(overuse.LEAST_TEMPORARY)}, whichever is most",
        f"{readable(overuse.MOST_SETTINGS)}, compressed",
        f"lasts {overuse.PAUSE_SECONDS // 60} minutes and ends by itself",
        f"{readable(collecting.MOST_LOGGED)} in an hour | its logging is switched off",
        f"{readable(entries.MOST_OF_A_FILE * entries.MOST_FILES)}, for `TENANTRY_AUDIT_DAYS`",
        f"the oldest {readable(entries.MOST_OF_A_FILE)} go",
        f"{uploads.MOST_OF_A_CUSTOMER} at once for each customer",
        f"less than {readable(imports.SPARE_BYTES)} |",
        f"nothing comes for {uploads.STALL_SECONDS:.0f} seconds",
        f"less than {readable(uploads.SLOWEST)} a second",
        f"{readable(folders.MOST_BYTES)} a run, {readable(fleet._MOST_WAITING)} of a customer's",
        f"migrations and blueprints after {STATEMENT_SECONDS / 60:.0f} minutes",
        f"from {percent(quotas._WARNING)} on",
        f"From below {percent(quotas._BACK)} on",
        f"stopped {percent(quotas._TOLERATED)} later",
        f"{readable(log_files.MOST_OF_A_SERVER)} each cluster",
        f"{readable(log_files.MOST_OF_A_FILE)} in `….log.1`",
        f"has waited for {pooling.RESERVE_SECONDS} seconds",
        f"hold, {pooling.POOL_SIZE} at most",
        f"`TENANTRY_API_HEAD_SECONDS` ({default('api_head_seconds')})",
        f"`TENANTRY_API_STALL_SECONDS` ({default('api_stall_seconds')})",
        f"`TENANTRY_API_IDLE_SECONDS` ({default('api_idle_seconds')})",
    ],
)
def test_a_figure_is_the_codes(said: str) -> None:
    assert said in TEXT


@pytest.mark.parametrize("lane", ROOM)
def test_the_room_of_a_lane_is_the_codes(lane: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{lane}` |"))
    room = ROOM[lane]  # type: ignore[index]
    assert row.endswith(f"| {room.total} | {room.each} |")


def test_masking_and_imports_have_an_hour() -> None:
    assert "masking and imports after an hour" in TEXT
    assert (branches._MASKING_SECONDS, imports.STATEMENT_SECONDS) == (3600, 3600)


def test_a_fair_share_of_connections_is_as_the_sizes_have_it() -> None:
    small, large = (parameters.size(parameters.Machine(n * 2**30, 2)) for n in (1, 64))
    assert f"less {small.reserved} reserved ones" in TEXT
    assert (
        f"{small.per_database} on the smallest machine, {large.per_database} on the largest" in TEXT
    )
