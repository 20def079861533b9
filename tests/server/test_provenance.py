"""Keys of before migration 17 get their grantors from the audit, and go back."""

import uuid
from importlib import resources

import pytest

from tenantry.control import grants
from tenantry.control.store import MIGRATIONS, connected
from tenantry.pg.connections import ADMIN, Address
from tenantry.services.migrations import service as migrations

CREATED = """
    INSERT INTO audit_logs (actor_kind, actor_id, actor_name, action, resource_kind, resource_id,
        result)
    VALUES (%s, %s, 'x', 'api_key.create', 'api_key', %s, 'ok')
"""


@pytest.mark.usefixtures("store")
async def test_keys_that_outlived_their_grantors_end_with_the_upgrade(address: Address) -> None:
    first, parent, child, other = (uuid.uuid4() for _ in range(4))
    folder = resources.files(MIGRATIONS)
    async with connected(address, user=ADMIN) as admin:
        await migrations.goto(admin, folder, 16)
        for key, revoked in ((first, False), (parent, True), (child, False), (other, False)):
            await admin.execute(
                "INSERT INTO api_keys (id, name, prefix, hash, scopes, revoked_at) VALUES"
                " (%s, 'x', 'x', sha256(%s::text::bytea), '{admin}', CASE WHEN %s THEN now() END)",
                (key, key, revoked),
            )
        await admin.execute(CREATED, ("platform", None, str(first)))
        await admin.execute(CREATED, ("api_key", first, str(parent)))
        await admin.execute(CREATED, ("api_key", parent, str(child)))
        await admin.execute(CREATED, ("api_key", first, str(other)))
        await migrations.goto(admin, folder, 17)
        async with admin.transaction():
            chains = await grants.chains(admin, [first, parent, child, other])
        ids = {key: [link.id for link in chain.links] for key, chain in chains.items()}
        assert ids == {
            first: [first],
            parent: [first, parent],
            child: [first, parent, child],
            other: [first, other],
        }
        states = {key: chain.rights.status for key, chain in chains.items()}
        assert states == {first: "active", parent: "revoked", child: "revoked", other: "active"}
        await migrations.goto(admin, folder, 16)
        await migrations.goto(admin, folder, 17)
