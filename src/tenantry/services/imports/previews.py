"""Previews of imports: what an import would create, and what of it the database supports."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tenantry.base.errors import InvalidInput
from tenantry.control import roles as roles_rows
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import extensions as extensions_
from tenantry.pg.api_roles import SHARED
from tenantry.pg.sources import ExtensionUse, RoleUse
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.imports import plan
from tenantry.services.imports.model import Preview, PreviewExtension, PreviewRole

_MOST_USES = 20  # of an extension


async def describe(
    store: ControlStore,
    clusters: ClusterPools,
    actor: Actor,
    row: DatabaseRow,
    *,
    extensions: Sequence[str],
    uses: Sequence[RoleUse],
    used_by: Sequence[ExtensionUse] = (),
    upload_id: uuid.UUID | None = None,
    **found: Any,
) -> Preview:
    """Return a preview of what was ``found``, with the extensions and the roles that it uses."""
    async with store.transaction(actor) as tx:
        known = await known_roles(tx, row, {})
        additional = await _additional(tx, row)
    async with clusters.connection(row.cluster_id) as server:
        installable = {each.name for each in await extensions_.every(server) if each.installable}
    return Preview(
        extensions=[
            PreviewExtension(
                each,
                each in installable,
                [use.what for use in used_by if use.extension == each][:_MOST_USES],
            )
            for each in extensions
        ],
        roles=[
            PreviewRole(
                role,
                policies=counts.get("policies", 0),
                grants=counts.get("grants", 0),
                owns=counts.get("owns", 0),
                login=login,
            )
            for role, counts, login in plan.uses(uses, known)
        ],
        logins=[row.username, *additional, *SHARED],
        upload_id=upload_id,
        **found,
    )


async def _additional(tx: Tx, row: DatabaseRow) -> dict[str, str]:
    """Return the database's additional roles by their short names."""
    return {
        each.name: each.username
        for each in await roles_rows.of_database(tx, row.id)
        if each.status == "active"
    }


async def known_roles(tx: Tx, row: DatabaseRow, mapped: Mapping[str, str]) -> dict[str, str]:
    """Return the roles that an import may name (see ``plan.roles``). Raises InvalidInput."""
    additional = await _additional(tx, row)
    known, missing = plan.roles(row.username, additional, mapped)
    if missing:
        raise InvalidInput.of(
            "map_roles",
            f"names no login of this database: {', '.join(missing)}. It has "
            + ", ".join([row.username, *additional, *SHARED]),
        )
    return known
