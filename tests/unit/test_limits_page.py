"""The figures of docs/reference/limits.md are those of the code."""

from pathlib import Path

import pytest

from tenantry.base.settings import Settings
from tenantry.base.sizes import readable
from tenantry.control import query_history
from tenantry.control.pauses import PauseReason
from tenantry.host import log_files
from tenantry.pg import parameters
from tenantry.services import cpu_shares
from tenantry.services.backups.model import MOST_MANUAL
from tenantry.services.branches import flow as branches
from tenantry.services.imports import flow as import_flow
from tenantry.services.imports import model as imports
from tenantry.services.imports import uploads
from tenantry.services.insights import history
from tenantry.services.operations import service as operations
from tenantry.services.operations.model import ROOM
from tenantry.services.overuse import plan as overuse
from tenantry.services.pooling import plan as pooling
from tenantry.services.quotas import plan as quotas
from tenantry.services.sites.model import MOST_CLIENTS
from tenantry.services.statement_log import entries, floods
from tenantry.services.tenant_migrations import folders
from tenantry.services.tenant_migrations import service as fleet
from tenantry.services.tenant_migrations.model import STATEMENT_SECONDS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "limits.md").read_text()
TEXT = " ".join(PAGE.split())
LOG: PauseReason = "log"
HERE = Settings(home=Path("/nowhere"))


def percent(part: float) -> str:
    return f"{part * 100:.0f} %"


@pytest.mark.parametrize(
    "said",
    [
        f"for each database {MOST_MANUAL} manual ones",
        f"`TENANTRY_CUSTOMER_DATABASES`: {HERE.customer.databases} |",
        f"or else `TENANTRY_CUSTOMER_SITES`: {HERE.customer.sites} |",
        f"connections to all sites | {MOST_CLIENTS:,} |",
        f"`TENANTRY_CUSTOMER_BACKUP_GB`: {HERE.customer.backup_gb} GiB",
        f"{operations._MOST_OF_A_CUSTOMER} unfinished operations",
        f"at least {readable(overuse.LEAST_WAL)}; a leaky bucket",
        f"{readable(overuse.MOST_SHARED)} in an hour for each database, as a leaky bucket",
        f"{readable(overuse.MOST_QUEUED)} of unread notifications",
        f"{readable(overuse.MOST_LOG)} in an hour for each database | paused (`{LOG}`)",
        f"or {readable(overuse.LEAST_TEMPORARY)}, whichever is largest",
        f"{readable(overuse.MOST_SETTINGS)}, compressed",
        f"lasts {overuse.PAUSE_SECONDS // 60} minutes and ends automatically",
        f"{floods.MOST_A_SECOND // 1000} kB/s on average of {floods.WINDOW_SECONDS:.0f} s",
        f"{readable(entries.MOST_OF_A_FILE * entries.MOST_FILES)}, for `TENANTRY_AUDIT_DAYS`",
        f"the oldest {readable(entries.MOST_OF_A_FILE)} are deleted",
        f"{uploads.MOST_OF_A_CUSTOMER} at once for each customer",
        f"less than {readable(import_flow.SPARE_BYTES)} free",
        f"nothing is sent for {uploads.STALL_SECONDS:.0f} seconds",
        f"less than {readable(uploads.SLOWEST)} a second",
        f"at most {query_history.MOST_KEPT} statements for each database and hour, for"
        f" {query_history.KEPT_DAYS} days, and {query_history.MOST_TEXTS} texts of"
        f" {history.MOST_TEXT:,} characters",
        f"{readable(folders.MOST_BYTES)} a run, {readable(fleet._MOST_WAITING)} for a customer",
        f"{STATEMENT_SECONDS / 60:.0f} minutes in migrations and blueprints",
        f"from {percent(quotas._WARNING)} on",
        f"Below {percent(quotas._BACK)} the database becomes writable",
        f"stopped {percent(quotas._TOLERATED)} later",
        f"{readable(log_files.MOST_OF_A_SERVER)} for each cluster",
        f"{readable(log_files.MOST_OF_A_FILE)} in `….log.1`",
        f"from {cpu_shares._LOOK_SECONDS} seconds after their start",
        f"has waited for {pooling.RESERVE_SECONDS} seconds",
        f"the pooler can hold, at most {pooling.POOL_SIZE}",
        f"`TENANTRY_API_HEAD_SECONDS` ({HERE.api.head_seconds})",
        f"`TENANTRY_API_STALL_SECONDS` ({HERE.api.stall_seconds})",
        f"`TENANTRY_API_IDLE_SECONDS` ({HERE.api.idle_seconds})",
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
    assert "an hour in masking and imports" in TEXT
    assert (branches._MASKING_SECONDS, imports.STATEMENT_SECONDS) == (3600, 3600)


def test_a_fair_share_of_connections_is_as_the_sizes_have_it() -> None:
    small, large = (parameters.size(parameters.Machine(n * 2**30, 2)) for n in (1, 64))
    assert f"minus {small.reserved} reserved ones" in TEXT
    assert (
        f"{small.per_database} on the smallest machine, {large.per_database} on the largest" in TEXT
    )
