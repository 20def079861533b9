"""The paths of an installation, below its home."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of an installation; nothing here touches the disk."""

    root: Path

    @property
    def admin_key(self) -> Path:
        return self.root / "admin.key"

    @property
    def seal_key(self) -> Path:
        """The key that seals what the control database must not store in clear text."""
        return self.root / "seal.key"

    @property
    def ca_certificate(self) -> Path:
        return self.root / "ca.crt"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def certificate(self) -> Path:
        """The server's key, its certificate and the chain above it, in one file."""
        return self.tls / "server.pem"

    @property
    def edge(self) -> Path:
        """The edge's configuration and certificates, and the key by which it proves itself."""
        return self.root / "edge"

    @property
    def edge_key(self) -> Path:
        """The key that the edge sends with each request that it passes on."""
        return self.edge / "key"

    @property
    def clusters(self) -> Path:
        return self.root / "clusters"

    @property
    def fleet(self) -> Path:
        """The shared clusters besides the first; exists only if there are any."""
        return self.root / "clusters.json"

    @property
    def pooler(self) -> Path:
        return self.root / "pooler"

    @property
    def sites(self) -> Path:
        """The sites of the AI cache, each in a folder named by its id."""
        return self.root / "sites"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def statements(self) -> Path:
        """Logged statements of databases, each in a folder named by the database's id."""
        return self.root / "statements"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def backup_key(self) -> Path:
        """The passphrase of the backup repositories, which cannot be read without it."""
        return self.root / "backup.key"

    @property
    def pgbackrest(self) -> Path:
        """pgBackRest's configuration, locks and spool."""
        return self.root / "pgbackrest"

    @property
    def recovery(self) -> Path:
        """The progress of a recovery; exists only until it is complete."""
        return self.root / "recovery.json"

    @property
    def packages(self) -> Path:
        """The versions of packages as apt reported them last."""
        return self.run / "packages.json"

    @property
    def scratch(self) -> Path:
        """Files of running operations, each in a folder named by the operation's id."""
        return self.root / "scratch"

    @property
    def run(self) -> Path:
        """Pid files and Unix sockets."""
        return self.root / "run"

    @property
    def reserve(self) -> Path:
        """Disk space in reserve: files that contain nothing."""
        return self.root / "reserve"

    @property
    def counts(self) -> Path:
        """The counters of each process, in a file of its own."""
        return self.run / "counts"

    @property
    def supervisor_pid(self) -> Path:
        return self.run / "supervisor.pid"

    @property
    def private_folders(self) -> tuple[Path, ...]:
        return (
            self.tls,
            self.edge,
            self.clusters,
            self.pooler,
            self.sites,
            self.logs,
            self.statements,
            self.backups,
            self.pgbackrest,
            self.scratch,
            self.reserve,
            self.run,
        )

    def folders(self) -> tuple[Path, ...]:
        """Return the folders with files of the platform's, those of sites and clusters included."""
        each = (*self.sites.glob("*/"), *self.clusters.glob("*/data/"))
        return (self.root, *self.private_folders, *each)
