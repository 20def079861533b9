"""Which PgBouncer is taken, and where the sources of a newer one are looked for."""

import os
import platform
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import MachineError
from tenantry.host import backports, engines, packages
from tenantry.host.backports import AptSource


@pytest.fixture(autouse=True)
def no_packaged_pgbouncer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that the tests run on may have one of its own."""
    monkeypatch.setattr(engines, "_PACKAGED", Path("/nonexistent/pgbouncer"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def put_engine(
    engines_dir: Path, version: str, *, package: str = "", says: str | None = None
) -> Path:
    """A program in the engines folder that says it is a PgBouncer."""
    folder = engines_dir / f"pgbouncer-{package or version}"
    folder.mkdir(parents=True)
    program = folder / "pgbouncer"
    program.write_text(f"#!/bin/sh\n{says or f'echo PgBouncer {version}'}\n")
    program.chmod(0o755)
    (folder / "engine.json").write_text(f'{{"package": "{package}", "mended": ["CVE-2026-6664"]}}')
    return program


def no_say(text: str) -> None:
    pytest.fail(f"should have been silent, but said: {text}")


# Choosing


async def test_the_newest_engine_that_runs_is_found(tmp_path: Path) -> None:
    put_engine(tmp_path, "1.21.0")
    program = put_engine(tmp_path, "1.24.1", package="1.24.1-1+deb13u2")
    put_engine(tmp_path, "1.26.1", says="exit 127")
    found = await engines.find_pgbouncer(tmp_path)
    assert (found.version, found.path) == ((1, 24, 1), program)
    assert found.package == "1.24.1-1+deb13u2"
    assert found.fixed == {"CVE-2026-6664"}


async def test_of_the_same_release_the_one_built_last_is_taken(tmp_path: Path) -> None:
    put_engine(tmp_path, "1.24.1", package="1.24.1-1+deb13u3")
    older = put_engine(tmp_path, "1.24.1", package="1.24.1-1+deb13u2")
    os.utime(older.with_name("engine.json"), (0, 0))
    assert (await engines.find_pgbouncer(tmp_path)).package == "1.24.1-1+deb13u3"


async def test_one_before_prepared_statements_is_none_at_all(tmp_path: Path) -> None:
    old = put_engine(tmp_path, "1.20.1")
    broken = put_engine(tmp_path, "1.26.1", says="echo no libevent >&2; exit 127")
    with pytest.raises(MachineError, match=r"no PgBouncer from 1\.21 on") as raised:
        await engines.find_pgbouncer(tmp_path)
    assert f"{old} is 1.20.1." in raised.value.detail
    assert f"{broken} does not run: pgbouncer ended with 127: no libevent" in raised.value.detail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_root_does_not_run_what_another_user_owns(tmp_path: Path) -> None:
    program = put_engine(tmp_path, "1.26.1", says=f"touch {tmp_path}/ran; echo PgBouncer 1.26.1")
    os.chown(program, 65534, 65534)
    with pytest.raises(MachineError, match="belongs to another user"):
        await engines.find_pgbouncer(tmp_path)
    assert not (tmp_path / "ran").exists()


async def test_the_wanted_one_is_taken_at_once_and_silently(tmp_path: Path) -> None:
    put_engine(tmp_path, "1.26.1")
    (tmp_path / "searched").touch()
    found = await engines.ensure_pgbouncer(tmp_path, no_say)
    assert found.version == engines.WANTED
    assert not (tmp_path / "lock").exists()


async def test_a_usable_one_is_taken_silently_after_todays_search(tmp_path: Path) -> None:
    put_engine(tmp_path, "1.24.1")
    (tmp_path / "searched").touch()
    assert (await engines.ensure_pgbouncer(tmp_path, no_say)).version == (1, 24, 1)


@pytest.mark.parametrize("version", ["1.24.1", "1.26.1"])
async def test_yesterdays_search_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Also where the one that was built is good: a newer source may fix what is not known yet."""
    searched: list[Path] = []

    async def search(engines_dir: Path, _say: object) -> None:
        searched.append(engines_dir)

    monkeypatch.setattr(engines, "_search", search)
    put_engine(tmp_path, version)
    (tmp_path / "searched").touch()
    os.utime(tmp_path / "searched", (0, 0))
    for _ in range(2):
        await engines.ensure_pgbouncer(tmp_path, no_say)
    assert searched == [tmp_path]  # the second time the first is remembered


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1.24.1-1+deb13u2", (1, 24, 1)), ("1.26.1\nlibevent 2.1", (1, 26, 1)), ("2", (2,))],
)
def test_upstream_is_what_a_version_begins_with(text: str, numbers: tuple[int, ...]) -> None:
    assert engines.upstream(text) == numbers


@given(st.text())
def test_upstream_takes_anything(text: str) -> None:
    assert all(number >= 0 for number in engines.upstream(text))


# Warning


def test_debians_own_fixes_silence_their_warnings() -> None:
    version, fixed = engines.read_changelog(
        textwrap.dedent("""\
            pgbouncer (1.24.1-1+deb13u2) trixie; urgency=medium

              * Fix CVE-2026-6664: An integer overflow, and CVE-2026-6665.

             -- Christoph Berg <myon@debian.org>  Sun, 10 May 2026 11:44:27 +0200

            pgbouncer (1.24.1-1+deb13u1) trixie; urgency=medium

              * CVE-2025-12819: execute arbitrary SQL during authentication.
            """)
    )
    assert version == "1.24.1-1+deb13u2"
    engine = engines.PgBouncerEngine((1, 24, 1), Path("/p"), version, fixed)
    warned = [text.split()[3].rstrip(":") for text in engine.warnings()]
    assert warned == ["CVE-2026-6666", "CVE-2026-6667", "CVE-2026-107350"]
    assert all(text.startswith("PgBouncer 1.24.1-1+deb13u2 has CVE-") for text in engine.warnings())


def test_the_wanted_release_has_no_warnings() -> None:
    assert engines.PgBouncerEngine(engines.WANTED, Path("/p")).warnings() == []


# Where sources are looked for

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ONE_LINE = f"""\
# deb http://old.example/debian bookworm main
deb cdrom:[Debian GNU/Linux 12.5.0 _Bookworm_]/ bookworm main
deb [arch=amd64 signed-by={KEYRING}] http://mirror.example/debian bookworm main contrib # ours
deb-src [signed-by={KEYRING}] http://mirror.example/debian bookworm main
deb [signed-by={KEYRING}] http://mirror.example/debian bookworm-updates main
deb http://mirror.example/debian-security bookworm-security main
deb [arch=amd64] https://tools.example/apt stable tools
deb https://tools.example/apt nodistro main
"""
DEB822 = f"""\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm
# taken when the image was made
 bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

types: deb deb-src
uris: http://mirror.example/debian-security
suites: bookworm-security
components: main
"""


def test_both_ways_of_writing_sources_lead_to_the_same_places() -> None:
    expected = {
        ("http://mirror.example/debian", "trixie", KEYRING),
        ("http://mirror.example/debian", "trixie-updates", KEYRING),
        ("http://mirror.example/debian-security", "trixie-security", None),
    }
    for sources in (backports.read_one_line(ONE_LINE), backports.read_deb822(DEB822)):
        written = backports.render(sources, "bookworm", "trixie")
        assert set(places(written)) == expected
        assert "deb-src" in written
        assert "Types: deb\n" not in written


def test_sid_has_no_sides() -> None:
    written = backports.render(backports.read_one_line(ONE_LINE), "bookworm", "sid")
    assert list(places(written)) == [("http://mirror.example/debian", "sid", KEYRING)]


def test_a_key_written_into_the_source_is_kept_whole() -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEYCQjIxYJKwYBBAHaRw8BAQdAD1\n =abcd"
    source = "Types: deb\nURIs: http://m.example/d\nSuites: bookworm\nComponents: main"
    text = f"{source}\nSigned-By:\n {key}\n"
    written = backports.render(backports.read_deb822(text), "bookworm", "sid")
    assert f"Signed-By: \n {key}\n" in written
    assert backports.read_deb822(written)[0].options["Signed-By"].strip() == key


def test_a_machine_of_another_release_leads_nowhere() -> None:
    assert backports.render(backports.read_one_line(ONE_LINE), "noble", "devel") == ""


def test_a_folder_of_sources_is_read_whole(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/d bookworm main\n")
    (parts / "b.list").write_text("deb http://b.example/d bookworm main\n")
    (parts / "c.sources").write_text(DEB822)
    (parts / "d.list.disabled").write_text("deb http://d.example/d bookworm main\n")
    uris = [source.uris for source in backports.machine_sources(tmp_path)]
    assert uris == [
        "http://a.example/d",
        "http://b.example/d",
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    ]


def places(written: str) -> Iterator[tuple[str, str, str | None]]:
    for source in backports.read_deb822(written):
        for suite in source.suites:
            yield source.uris, suite, source.options.get("Signed-By")


word = st.text("abcdefghijklmnopqrstuvwxyz0123456789./", min_size=1, max_size=12)
suite_name = st.sampled_from(["bookworm", "bookworm-updates", "bookworm-security", "stable", "x"])
source_lists = st.lists(
    st.builds(
        AptSource,
        uris=word.map("http://".__add__),
        suites=st.lists(suite_name, min_size=1, max_size=3).map(tuple),
        components=st.lists(st.sampled_from(["main", "contrib"]), min_size=1, unique=True).map(
            tuple
        ),
        options=st.dictionaries(st.just("Signed-By"), word.map("/".__add__)),
    ),
    max_size=5,
)


@given(source_lists)
def test_what_is_written_is_read_back_and_leaves_the_machines_own_hosts_never(
    sources: list[AptSource],
) -> None:
    known = {(source.uris, source.options.get("Signed-By")) for source in sources}
    for uri, suite, key in places(backports.render(sources, "bookworm", "trixie")):
        assert (uri, key) in known
        assert suite.partition("-")[0] == "trixie"


@given(st.text())
def test_reading_takes_anything(text: str) -> None:
    backports.read_one_line(text)
    backports.read_deb822(text)


async def test_a_source_that_cannot_be_had_is_a_line_and_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def nothing(*_: object) -> None:
        pass

    async def some(*_: object) -> list[str]:
        return ["pgbouncer"]

    async def buildable(_: object) -> bool:
        return True

    async def unreachable(*_: object) -> bool:
        raise MachineError("apt-get failed:\nReading lists\nE: Failed to fetch http://x/sid 404\n")

    monkeypatch.setattr(packages, "refresh", nothing)
    monkeypatch.setattr(packages, "missing", some)
    monkeypatch.setattr(packages, "candidate", nothing)
    monkeypatch.setattr(engines, "_can_build", buildable)
    monkeypatch.setattr(engines, "_backport", unreachable)
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    said: list[str] = []
    with pytest.raises(MachineError, match="sid: E: Failed to fetch http://x/sid 404"):
        await engines._search(tmp_path, said.append)
    assert said[:2] == [
        "Looking for the best PgBouncer that can be had",
        "No newer PgBouncer can be had from sid.",
    ]
    assert not [line for line in said if "E:" in line]
