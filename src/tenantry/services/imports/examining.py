"""The examination of a database elsewhere before an import: is it permitted and possible?"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tenantry.base.errors import Forbidden, InvalidInput, TooManyAtOnce
from tenantry.base.shares import NoPlace, Shares
from tenantry.control.audit import Actor
from tenantry.pg import extensions as extensions_
from tenantry.pg import sources
from tenantry.pg.sources import IPAddress, Source, SourceError
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.imports import plan
from tenantry.services.imports.model import Examined
from tenantry.services.imports.plan import Offered, Selection

_EXAMINED_AT_ONCE = 16
_EXAMINED_EACH = 2
_ADDRESSES_TRIED = 3
_OLDEST = 9_02_00  # the oldest release that pg_dump supports, by its manual
_DISCARD = 9  # a UDP port; nothing is sent to it


class Examining:
    """The examination of sources. ``private`` permits customers to import from private networks."""

    def __init__(self, clusters: ClusterPools, *, private: bool) -> None:
        self._clusters = clusters
        self._private = private
        self._examining = Shares(each=_EXAMINED_EACH, total=_EXAMINED_AT_ONCE)

    async def look(self, actor: Actor, source: Source, selection: Selection) -> Examined:
        """Connect to a source, and return its contents.

        Raises SourceError, Forbidden, TooManyAtOnce.
        """
        async with self.place(actor):
            addresses = await self._allowed(actor, source)
            address, contents = await _look(source, addresses)
        return Examined(source, address, contents, selection)

    @asynccontextmanager
    async def place(self, actor: Actor) -> AsyncIterator[None]:
        """Take one of the few places for examining sources. Raises TooManyAtOnce."""
        try:
            async with self._examining.place(actor.customer_id or actor.id):
                yield
        except NoPlace:
            raise TooManyAtOnce("Other sources are just being looked at.", seconds=5) from None

    async def _allowed(self, actor: Actor, source: Source) -> list[IPAddress]:
        administrator = actor.customer_id is None
        found = [
            address
            for address in await sources.resolve(source)
            if plan.is_allowed(address, administrator=administrator, private=self._private)
            and (administrator or not is_own(plan.embedded(address)))
        ]
        if not found:
            raise Forbidden(
                f"{source.host} is at an address that imports do not reach from here.",
                hint="An administrator may import from this machine and from private networks;"
                " TENANTRY_IMPORT_PRIVATE lets customers into the latter, too.",
            )
        return list(dict.fromkeys(found))[:_ADDRESSES_TRIED]

    async def check(self, examined: Examined) -> None:
        """Raise InvalidInput for a source that cannot be copied here."""
        contents = examined.contents
        cluster = (await self._clusters.for_new_database()).cluster
        if contents.major > cluster.version:
            raise InvalidInput.of(
                "from",
                f"is PostgreSQL {contents.major}, and this server has {cluster.version}:"
                " a database can be copied to the same version or a newer one",
                code="newer_version",
            )
        if contents.version < _OLDEST:
            raise InvalidInput.of("from", "is older than PostgreSQL 9.2", code="older_version")
        selection = examined.selection
        known = {table.schema for table in contents.tables}
        if unknown := [name for name in selection.schemas if name not in known]:
            raise InvalidInput.of("schemas", f"there are no tables in {', '.join(unknown)} there")
        async with self._clusters.connection(cluster.id) as server:
            offered = [
                Offered(each.name, each.installable) for each in await extensions_.every(server)
            ]
        missing = plan.unavailable(contents.extensions, offered)
        needs = plan.needs(selection.needed_in(contents.uses), missing)
        if needs and not selection.accept_losses:
            raise InvalidInput.of(
                "from",
                f"has extensions that cannot be here: {sources.readable(needs)}. Leave those"
                " tables out by exclude_tables, or go on without what needs them by accept_losses:"
                " the result lists it",
                code="unavailable_extension",
            )


async def _look(source: Source, addresses: list[IPAddress]) -> tuple[IPAddress, sources.Contents]:
    """Return the contents of a source, and the first of its addresses that answers."""
    for address in addresses[:-1]:
        with suppress(SourceError):
            return address, await sources.look(source, address)
    return addresses[-1], await sources.look(source, addresses[-1])


def is_own(address: IPAddress) -> bool:
    """Whether this machine has the address: a connection to it would then come from it, too."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), _DISCARD))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == str(address))
