"""What an import is made of. Values only; none of them is written down with its password."""

import uuid
from dataclasses import dataclass

from tenantry.pg.sources import Contents, IPAddress, Source
from tenantry.services.imports.plan import Selection

KIND = "database.import"


@dataclass(frozen=True, slots=True)
class Examined:
    """A source that can be imported from: the address that is connected to, and what it has.

    ``size_bytes`` is what the tables that are copied take there, with their indexes.
    """

    source: Source
    address: IPAddress
    contents: Contents
    selection: Selection

    @property
    def size_bytes(self) -> int:
        return sum(table.size_bytes for table in self.selection.tables(self.contents.tables))

    def environment(self, database: str) -> dict[str, str]:
        """How PostgreSQL's programs log in there (``dumps.Login``)."""
        return self.source.environment(self.address) | {"PGDATABASE": database}


@dataclass(frozen=True, slots=True)
class Upload:
    """A dump that was sent, in a file of its own."""

    id: uuid.UUID
    size_bytes: int
    sha256: bytes
