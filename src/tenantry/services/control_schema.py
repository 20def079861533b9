"""The tables of the control database."""

from importlib import resources

from tenantry.control import jobs
from tenantry.control.store import DATABASE, MIGRATIONS
from tenantry.pg.connections import ADMIN, connect
from tenantry.services.clusters.service import LocalClusters
from tenantry.services.migrations import service as migrations
from tenantry.services.migrations.model import Acceptance


async def ensure_control_schema(local: LocalClusters) -> None:
    """Have the control database's tables, and the job queue's."""
    address = local.control_address
    async with connect(address, user=ADMIN, dbname=DATABASE, search_path="public") as admin:
        # Nobody here could take back what a released file is now: a comment must not keep all down.
        await migrations.up(admin, resources.files(MIGRATIONS), accept=Acceptance(edited=True))
        await jobs.ensure_schema(admin)
