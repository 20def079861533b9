"""What belongs to this machine, and needs no control database."""

from functools import cached_property

from tenantry.base.home import Home
from tenantry.base.secrets import Seal
from tenantry.base.settings import Settings
from tenantry.services.certificates.service import Certificates
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.edge.service import Edge
from tenantry.services.home_files import HomeKeeper
from tenantry.services.pooling.service import Pooler
from tenantry.services.repository.service import Repositories
from tenantry.services.side_clusters.service import SideClusters
from tenantry.services.statement_log.entries import EntryFiles
from tenantry.services.versions import Versions


class LocalParts:
    """The clusters, files and programs of this machine. Each is assembled once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = Home(settings.home)
        self.fleet = Fleet(settings)

    @cached_property
    def pooler(self) -> Pooler:
        """The pooler in front of this machine's shared clusters."""
        return Pooler(self.settings, self.fleet)

    @cached_property
    def edge(self) -> Edge:
        """The host names and HTTPS in front of this machine's HTTP endpoints."""
        return Edge(self.settings)

    @cached_property
    def certificates(self) -> Certificates:
        """The certificate of this machine's endpoints."""
        return Certificates(self.settings, self.fleet, self.pooler)

    @cached_property
    def repositories(self) -> Repositories:
        return Repositories(self.settings)

    @cached_property
    def side_clusters(self) -> SideClusters:
        return SideClusters(self.settings, self.repositories)

    @cached_property
    def versions(self) -> Versions:
        return Versions(self.settings, self.fleet, self.pooler)

    @cached_property
    def home_keeper(self) -> HomeKeeper:
        return HomeKeeper(self.settings, self.repositories)

    @cached_property
    def _seal(self) -> Seal:
        return Seal(self.home.seal_key.read_bytes())

    @cached_property
    def _entries(self) -> EntryFiles:
        return EntryFiles(self.home.statements)
