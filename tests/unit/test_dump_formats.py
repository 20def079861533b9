"""The forms in which dumps arrive, reported by their first bytes, and packed ones unpacked."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tenantry.base.errors import Conflict
from tenantry.host.packages import PostgresEngine
from tenantry.pg import dump_formats
from tenantry.pg.dump_formats import Header, NewerDump


def archive(version: tuple[int, int], made_by: str) -> bytes:
    """The beginning of an archive, as pg_dump's WriteHead writes it."""

    def number(value: int) -> bytes:
        return b"\0" + value.to_bytes(4, "little")

    compression = b"\1" if version >= (1, 15) else number(6)
    words = b"".join(
        number(len(word)) + word.encode() for word in ("shop", "15.4 (Debian)", made_by)
    )
    return b"PGDMP" + bytes([*version, 0, 4, 8, 1]) + compression + number(1) * 7 + words


def tar(*members: tuple[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as made:
        for name, content in members:
            reported = tarfile.TarInfo(name)
            reported.size = len(content)
            made.addfile(reported, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"--\n-- PostgreSQL database dump\n", "script"),
        (archive((1, 14), "15.4"), "archive"),
        (tar(("toc.dat", b"x")), "tar"),
        (b"", None),
        (b" \n", None),
        (b"\x89PNG\r\n\x1a\n\0", None),
        (b"\x1f\x8b\x08" + b"\xff" * 600, None),
    ],
)
def test_a_form_is_reported_by_the_first_bytes(head: bytes, form: str | None) -> None:
    assert dump_formats.form_of(head[:512]) == form
    if not head.startswith(b"\x1f\x8b"):
        assert dump_formats.form_of(gzip.compress(head)) == form


@pytest.mark.parametrize(
    ("version", "made_by", "reported"),
    [
        ((1, 14), "15.4 (Debian 15.4-1)", "15"),
        ((1, 15), "16.1", "16"),
        ((1, 16), "18.6", "18"),
        ((1, 16), "?", None),
    ],
)
def test_an_archive_says_who_made_it(
    version: tuple[int, int], made_by: str, reported: str | None
) -> None:
    head = archive(version, made_by)
    assert dump_formats.header_of(head) == Header(version, reported)
    for end in range(len(head)):
        dump_formats.header_of(head[:end])  # never fails


def test_an_archive_is_read_by_the_oldest_release_that_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reads(installed: tuple[int, ...], version: tuple[int, int], server: int) -> int:
        engines = [PostgresEngine(major, Path()) for major in installed]
        monkeypatch.setattr("tenantry.host.packages.installed_clients", lambda _: engines)
        return dump_formats.reader(Header(version, "18"), server, Path()).version

    assert reads((15, 16, 18), (1, 14), 15) == 15
    assert reads((15, 16, 18), (1, 14), 16) == 16
    assert reads((15, 16, 18), (1, 15), 15) == 16
    assert reads((15, 16, 18), (1, 16), 15) == 18
    assert reads((15, 21), (1, 19), 15) == 21
    with pytest.raises(NewerDump, match=r"newer pg_dump \(18\) than this server's \(15\)") as error:
        reads((15,), (1, 16), 15)
    assert "pg_dump --format=plain" in str(error.value.hint)


def test_a_packed_archive_is_unpacked(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(gzip.compress(archive((1, 14), "15.4")))
    dump_formats.unpack(dump, 1000)
    assert dump.read_bytes() == archive((1, 14), "15.4")
    script = gzip.compress(b"SELECT 1;")
    dump.write_bytes(script)
    dump_formats.unpack(dump, 1000)
    assert dump.read_bytes() == script


def test_a_folder_of_pg_dumps_is_unpacked_and_nothing_beside_it_written(tmp_path: Path) -> None:
    dump = tmp_path / "home" / "dump"
    dump.parent.mkdir()
    contents = archive((1, 14), "15.4")
    packed = tar(
        ("shop/toc.dat", contents),
        ("shop/3300.dat.gz", b"data"),
        ("../../evil.dat", b""),
        ("/etc/evil", b""),
        ("shop/other.sh", b""),
    )
    for form in (packed, gzip.compress(packed)):
        dump.write_bytes(form)
        dump_formats.unpack(dump, 100_000)
        assert {each.name for each in dump.iterdir()} == {"toc.dat", "3300.dat.gz"}
        assert dump_formats.head_of(dump) == contents
        assert [each.name for each in tmp_path.rglob("*evil*")] == []
        for each in dump.iterdir():
            each.unlink()
        dump.rmdir()


def test_one_of_format_tar_stays(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    contents = archive((1, 14), "15.4")
    packed = tar(("toc.dat", contents), ("3300.dat", b"1"), ("restore.sql", b"SELECT 1;"))
    dump.write_bytes(packed)
    dump_formats.unpack(dump, 100_000)
    assert dump.read_bytes() == packed
    assert dump_formats.head_of(dump) == contents
    assert dump_formats.is_tar(dump)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(archive((1, 14), "15") + b"\0" * 100_000), "more than 1,000 bytes"),
        (gzip.compress(archive((1, 14), "15") + bytes(range(256)) * 9)[:-20], "is damaged"),
        (tar(("a/toc.dat", b"x" * 2000)), "more than 1,000 bytes"),
    ],
)
def test_what_is_damaged_or_too_large_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(content)
    with pytest.raises(Conflict, match=said):
        dump_formats.unpack(dump, 1000)
