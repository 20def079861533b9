"""Copying a database by sharing its blocks: chosen where it can be, and then really shared."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from conftest import Server, started
from tenantry.host import files
from tenantry.pg import catalog, objects
from tenantry.pg.connections import PLATFORM, Address, connect
from tenantry.pg.hardening import ensure_hardened

ROWS = 400_000  # 50 MB, which a copy would have to write
IMAGE_BYTES = 2 * 2**30  # sparse
FORMATS = {"xfs": ["-q", "-m", "reflink=1"], "btrfs": ["-q"]}
CLONES_FROM = 18
LIBRARY = Path("/usr/lib/postgresql")


def copies_by_reference(folder: Path) -> bool:
    """What coreutils find."""
    source, copy = folder / "source", folder / "copy"
    source.write_bytes(b"x" * 4096)
    done = subprocess.run(
        ["cp", "--reflink=always", source, copy], capture_output=True, check=False
    )
    source.unlink()
    copy.unlink(missing_ok=True)
    return done.returncode == 0


def test_whether_a_folder_shares_blocks_is_found_by_trying(tmp_path: Path) -> None:
    assert files.shares_blocks(tmp_path) == copies_by_reference(tmp_path)
    assert not files.shares_blocks(Path("/dev/shm"))
    assert not files.shares_blocks(Path("/proc"))
    assert list(tmp_path.iterdir()) == []


async def test_whether_a_server_can_clone_is_what_it_says(
    platform: psycopg.AsyncConnection[psycopg.rows.TupleRow],
) -> None:
    assert await catalog.can_clone(platform) == (
        platform.info.server_version // 10_000 >= CLONES_FROM
    )


# ── where it can be ──────────────────────────────────────────────────────────


def newest_server() -> Path | None:
    """The programs of a PostgreSQL that can clone, if one is installed (Debian's layout)."""
    found = [each for each in LIBRARY.glob("*/bin") if int(each.parts[-2]) >= CLONES_FROM]
    return max(found, key=lambda each: int(each.parts[-2]), default=None)


needs_a_server = pytest.mark.skipif(
    newest_server() is None, reason=f"there is no PostgreSQL {CLONES_FROM} or newer in {LIBRARY}"
)


@pytest.fixture
def mounted() -> Iterator[Path]:
    """A folder on a file system that shares blocks, in a sparse file."""
    name = next((each for each in FORMATS if shutil.which(f"mkfs.{each}")), None)
    if name is None:
        pytest.skip("there is no mkfs.xfs (package xfsprogs), nor mkfs.btrfs (btrfs-progs)")
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    folder = Path(tempfile.mkdtemp(prefix="tenantry-clone-"))
    image, place = folder / "image", folder / "mounted"
    try:
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run([f"mkfs.{name}", *FORMATS[name], image], check=True, capture_output=True)
        mount = subprocess.run(
            ["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False
        )
        if mount.returncode != 0:
            pytest.skip(f"this system mounts no {name}: {mount.stderr.strip()}")
        try:
            folder.chmod(0o755)
            yield place
        finally:
            subprocess.run(["umount", place], check=True)
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Copied:
    """What came of copying a filled database as a clone."""

    seconds: float
    file_bytes: int
    taken_bytes: int
    shared_extents: int


def copied_in(home: Path) -> Copied:
    """Copy a database of the newest server's, with its data in a new folder."""
    bin_dir = newest_server()
    assert bin_dir is not None
    home.mkdir()
    with started(home, bin_dir) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as superuser:
            superuser.execute("CREATE ROLE tenantry_admin SUPERUSER LOGIN")
            version = superuser.info.server_version // 10_000
        asyncio.run(ensure_hardened(Address(home, 5432), version=version))
        return asyncio.run(copied(server))


async def copied(server: Server) -> Copied:
    address = Address(server.socket_dir, 5432)
    tenant = f"user_{uuid4().hex[:12]}"
    source, target = f"{tenant}_source", f"{tenant}_copy"
    async with connect(address, user=PLATFORM) as platform:
        assert await catalog.can_clone(platform)
        await objects.ensure_role(platform, tenant)
        await objects.ensure_database(platform, address, source, tenant=tenant)
        fill(server, source)
        used = shutil.disk_usage(server.socket_dir).used
        began = time.monotonic()
        assert await objects.copy_database(platform, source, target, tenant=tenant, clone=True)
        seconds = time.monotonic() - began
        taken = shutil.disk_usage(server.socket_dir).used - used
        left = await (await platform.execute("SHOW file_copy_method")).fetchone()
        assert left == ("copy",), "a pooled session is as it was"
    file = server.socket_dir / "data" / file_of(server, target)
    found = Copied(seconds, file.stat().st_size, taken, shared_extents(file))
    assert checksum(server, source) == checksum(server, target)
    with psycopg.connect(server.dsn(target)) as session:
        session.execute("DELETE FROM t WHERE i % 2 = 0")
    assert checksum(server, source) != checksum(server, target)
    return found


def fill(server: Server, database: str) -> None:
    with psycopg.connect(server.dsn(database), autocommit=True) as session:
        session.execute(
            sql.SQL(
                "CREATE TABLE t AS SELECT i, repeat(md5(i::text), 3) AS x"
                " FROM generate_series(1, {}) i"
            ).format(ROWS)
        )
        session.execute("CHECKPOINT")
    with psycopg.connect(server.dsn(), autocommit=True) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (database,),
        )


def checksum(server: Server, database: str) -> object:
    with psycopg.connect(server.dsn(database)) as session:
        return session.execute("SELECT count(*), sum(hashtext(x)) FROM t").fetchone()


def file_of(server: Server, database: str) -> str:
    with psycopg.connect(server.dsn(database)) as session:
        row = session.execute("SELECT pg_relation_filepath('t')").fetchone()
    assert row is not None
    return str(row[0])


def shared_extents(file: Path) -> int:
    reported = subprocess.run(["filefrag", "-v", file], check=True, capture_output=True, text=True)
    return sum("shared" in line.rpartition(":")[2] for line in reported.stdout.splitlines())


@needs_a_server
def test_a_clone_shares_its_blocks(mounted: Path) -> None:
    assert files.shares_blocks(mounted)
    made = copied_in(mounted / "home")
    assert made.shared_extents > 0
    assert made.file_bytes > 40 * 2**20
    assert made.taken_bytes < made.file_bytes / 2


@needs_a_server
def test_a_clone_is_silently_a_copy_where_blocks_cannot_be_shared() -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenantry-copy-"))
    folder.chmod(0o755)
    try:
        if files.shares_blocks(folder):
            pytest.skip(f"{folder.parent} is on a file system that shares blocks")
        made = copied_in(folder / "home")
    finally:
        shutil.rmtree(folder)
    # PostgreSQL says nothing of it: this is why we ask the file system.
    assert made.shared_extents == 0
