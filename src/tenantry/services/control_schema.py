"""The schema of the control database."""

from importlib import resources

from tenantry.control import jobs
from tenantry.control.store import DATABASE, MIGRATIONS
from tenantry.pg.connections import ADMIN, connect
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.migrations import service as migrations
from tenantry.services.migrations.model import Acceptance


async def ensure_control_schema(fleet: Fleet) -> None:
    """Create or migrate the tables of the control database and of the job queue."""
    async with connect(
        fleet.control.address, user=ADMIN, dbname=DATABASE, search_path="public"
    ) as admin:
        # A released migration file cannot be reverted here: an edited comment must not prevent the
        # start.
        await migrations.up(admin, resources.files(MIGRATIONS), accept=Acceptance(edited=True))
        await jobs.ensure_schema(admin)
