"""Receiving dumps, with limits on their number, slowness and size."""

import asyncio
import hashlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tenantry.base.errors import Conflict, InvalidInput, TenantryError, TooManyAtOnce
from tenantry.base.ids import new_id
from tenantry.host import files, packages
from tenantry.pg import dump_formats
from tenantry.pg.script_loading import GZIP
from tenantry.services.imports.flow import SPARE_BYTES
from tenantry.services.imports.model import Upload

STALL_SECONDS = 30.0
SLOWEST = 64 * 1024  # bytes a second, on average after the first STALL_SECONDS
MOST_OF_A_CUSTOMER = 4  # at once
HELD_SECONDS = 3600.0  # from the preview of a dump to its import
_LOOK_BYTES = 16 * 1024 * 1024  # between two checks of the free disk space


class UploadTooSlow(TenantryError):
    """No data came for too long, or they came too slowly."""

    code = "upload_too_slow"
    status = 408
    title = "The upload stalled"


@dataclass(frozen=True, slots=True)
class _Held:
    """A previewed dump that waits for its import, and the timer that discards it."""

    upload: Upload
    database_id: uuid.UUID
    customer_id: uuid.UUID | None
    end: asyncio.TimerHandle


class Uploads:
    """The dumps that this process receives."""

    def __init__(self, folder: Path, engines_dir: Path) -> None:
        self._folder = folder
        self._engines_dir = engines_dir
        self._databases: dict[uuid.UUID, uuid.UUID | None] = {}
        self._held: dict[uuid.UUID, _Held] = {}

    @contextmanager
    def only_one(self, database_id: uuid.UUID, customer_id: uuid.UUID | None) -> Iterator[None]:
        """Be the only upload for a database, and one of a customer's few, during the block.

        Raises Conflict, TooManyAtOnce.
        """
        if database_id in self._databases:
            raise Conflict(
                "Another dump is being sent to this database.",
                hint="Wait for its end, or end it: one that sends nothing is ended after"
                f" {STALL_SECONDS:.0f} seconds.",
            )
        count = Counter(self._databases.values())[customer_id]
        if customer_id is not None and count >= MOST_OF_A_CUSTOMER:
            raise TooManyAtOnce(
                f"A customer sends at most {MOST_OF_A_CUSTOMER} dumps at once.",
                seconds=STALL_SECONDS,
                hint="Wait until one of them has come.",
            )
        self._databases[database_id] = customer_id
        try:
            yield
        finally:
            del self._databases[database_id]

    def path(self, upload_id: object) -> Path:
        """Return the path of a dump."""
        return self._folder / str(upload_id)

    def discard(self, upload_id: uuid.UUID) -> None:
        """Delete a dump."""
        self.release(upload_id)
        dump_formats.remove(self.path(upload_id))

    # ── previewed, and not imported yet ──────────────────────────────────────

    def hold(self, upload: Upload, database_id: uuid.UUID, customer_id: uuid.UUID | None) -> None:
        """Retain a previewed dump for an hour, for its import.

        A database has at most one, and a customer few: the oldest is discarded.
        """
        self.forget(database_id)
        theirs = [each for each in self._held.values() if each.customer_id == customer_id]
        if customer_id is not None and len(theirs) >= MOST_OF_A_CUSTOMER:
            self.discard(theirs[0].upload.id)
        end = asyncio.get_running_loop().call_later(HELD_SECONDS, self.discard, upload.id)
        self._held[upload.id] = _Held(upload, database_id, customer_id, end)

    def held(self, upload_id: uuid.UUID, database_id: uuid.UUID) -> Upload:
        """Return a dump retained for this database. Raises InvalidInput if there is none."""
        found = self._held.get(upload_id)
        if found is None or found.database_id != database_id:
            raise InvalidInput.of(
                "upload_id",
                "is no dump that is kept for this database: send it again",
                code="unknown_upload",
            )
        return found.upload

    def forget(self, database_id: uuid.UUID) -> None:
        """Discard the retained dump of a database."""
        for each in [each for each in self._held.values() if each.database_id == database_id]:
            self.discard(each.upload.id)

    def release(self, upload_id: uuid.UUID) -> None:
        """Stop retaining a dump that an import has taken over."""
        found = self._held.pop(upload_id, None)
        if found is not None:
            found.end.cancel()

    # ── being received ───────────────────────────────────────────────────────

    async def receive(self, chunks: AsyncIterator[bytes], *, most: int) -> Upload:
        """Write a dump to a file.

        Raises InvalidInput if it is not a dump, Conflict if it is too large, UploadTooSlow,
        NotEnoughDisk. The file is deleted then.
        """
        upload = new_id()
        path = self.path(upload)
        files.ensure_folder(path.parent)
        try:
            with path.open("xb") as file:
                path.chmod(0o600)
                size, digest = await self._write(paced(chunks), file, most=most)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Upload(upload, size, digest)

    async def _write(
        self, chunks: AsyncIterator[bytes], file: BinaryIO, *, most: int
    ) -> tuple[int, bytes]:
        size, digest, first, looked = 0, hashlib.sha256(), b"", 0
        async for chunk in chunks:
            size += len(chunk)
            digest.update(chunk)
            if size > most:
                raise too_large(most)
            if len(first) < dump_formats.HEAD_BYTES:
                first = (first + chunk)[: dump_formats.HEAD_BYTES]
                if len(first) == dump_formats.HEAD_BYTES:
                    _require_dump(first, self._engines_dir)
            if size - looked >= _LOOK_BYTES:
                looked = size
                files.require_room(
                    self._folder,
                    SPARE_BYTES,
                    what="What is sent, beside what others send,",
                    hint="Whoever runs the platform has to make room.",
                )
            await asyncio.to_thread(file.write, chunk)
        _require_dump(first, self._engines_dir)
        return size, digest.digest()


def too_large(most: int) -> Conflict:
    """Return the error for a dump of more than ``most`` bytes."""
    return Conflict(
        f"The dump is larger than the {most:,} bytes that there is room for.",
        hint="Raise disk_quota_bytes, or leave tables out.",
    )


async def paced(
    chunks: AsyncIterator[bytes], *, stall: float = STALL_SECONDS, slowest: float = SLOWEST
) -> AsyncIterator[bytes]:
    """Yield the chunks as they come. Times are in seconds, ``slowest`` in bytes a second.

    Raises UploadTooSlow if none comes for ``stall``, or if the average is below ``slowest``, which
    counts after ``stall``.
    """
    clock = asyncio.get_running_loop().time
    began, received = clock(), 0
    iterator = aiter(chunks)
    while True:
        left = min(stall, began + stall + received / slowest - clock())
        try:
            async with asyncio.timeout(max(0.0, left)):
                chunk = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadTooSlow(
                f"The upload stopped after {received:,} bytes, or came too slowly.",
                hint=f"Send it again, without a break of {stall:.0f} seconds, and at"
                f" {slowest / 1024:.0f} KiB a second or faster.",
            ) from None
        received += len(chunk)
        yield chunk


def _require_dump(first: bytes, engines_dir: Path) -> None:
    """Raise InvalidInput if a file that begins like this is not a supported dump; NewerDump."""
    if dump_formats.form_of(first) is None:
        what = "is neither an archive of pg_dump's nor SQL"
        if first.startswith(GZIP):
            what = "is compressed by gzip, but neither SQL nor an archive, or damaged"
        elif first.startswith((b"\xff\xfe", b"\xfe\xff")):
            what = "is UTF-16, as PowerShell's > writes it; make it with pg_dump --file=…"
        raise InvalidInput.of("body", what, code="not_a_dump")
    header = dump_formats.header_of(first)
    if header is not None:
        dump_formats.reader(header, packages.SUPPORTED.start, engines_dir)
