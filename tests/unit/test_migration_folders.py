"""Folders of migrations: large ones, sent ones, and ones with files that came late."""

import datetime as dt
import io
import tarfile
import time

import pytest

from tenantry.base.errors import InvalidInput
from tenantry.pg import statements
from tenantry.services.migrations import lint, plan
from tenantry.services.migrations.model import Applied, BadMigrations, Migration, Script, State
from tenantry.services.tenant_migrations.folders import REQUEST, Folder

# ── files that came late ─────────────────────────────────────────────────────


def folder(*versions: int) -> list[Migration]:
    return [Migration(v, "t", up=Script(f"{v}_t.up.sql", "SELECT 1")) for v in versions]


def journal(*versions: int) -> dict[int, Applied]:
    now = dt.datetime.now(dt.UTC)
    digest = Script("", "SELECT 1").sha256
    return {v: Applied(v, f"{v}_t.up.sql", digest, now) for v in versions}


@pytest.mark.parametrize(
    ("noted", "stands", "skipped", "unnoted"),
    [
        ((1, 20), 20, [9], []),
        ((), 20, [], [1, 9, 20]),  # golang-migrate's
        ((1,), 20, [], [9, 20]),  # golang-migrate's since the last run
        ((9, 20), 20, [1], []),  # before the first
        ((1, 9, 20), 20, [], []),
        ((1, 9, 20), 9, [], []),  # golang-migrate went down
        ((1, 20), 9, [], [9]),
        ((), None, [], []),
    ],
)
def test_what_came_late_is_reported_from_what_others_applied(
    noted: tuple[int, ...], stands: int | None, skipped: list[int], unnoted: list[int]
) -> None:
    found = plan.status(folder(1, 9, 20, 21), State(stands), journal(*noted))
    assert [m.version for m in found.skipped] == skipped
    assert [m.version for m in found.unnoted] == unnoted
    assert not set(found.applied) & set(found.skipped)
    every = sorted(m.version for m in (*found.applied, *found.skipped, *found.pending))
    assert every == [1, 9, 20, 21]


def test_a_version_without_a_file_is_never_skipped() -> None:
    only_down = Migration(9, "t", down=Script("9_t.down.sql", ""))
    found = plan.status([*folder(1), only_down, *folder(20)], State(20), journal(1, 20))
    assert found.skipped == ()


# ── large files ──────────────────────────────────────────────────────────────


def large(rows: int) -> str:
    """Some statements that matter, among many that do not."""
    row = "INSERT INTO t VALUES ({}, 'ö; it''s one');"
    some = "\n".join(map(row.format, range(rows)))
    return (
        f"-- tenantry: allow drops-table\nDROP TABLE t;\n{some}\n"
        f"INSERT INTO u\nSELECT 1;\n/* a comment; */ {some}\nCREATE INDEX ON t (i);\nVACUUM"
    )


def test_a_large_file_is_split_as_a_small_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = large(50)
    small = statements.split(text)
    monkeypatch.setattr("tenantry.pg.statements._LARGE", 100)
    found = statements.split(text)
    assert len(found) == len(small) == 104
    for one, other in zip(found, small, strict=True):
        assert one.text.rstrip(";") == other.text
        assert one.line == other.line
        assert type(one.node) in {type(other.node), type(None)}
    assert [type(each.node).__name__ for each in found if each.node] == [
        *("DropStmt", "InsertStmt", "IndexStmt", "VacuumStmt")
    ]
    assert found[0].comments == "-- tenantry: allow drops-table\n"
    assert found[-1] == found[103]
    assert found[1:3] == (found[1], found[2])
    assert not Script("1_t.up.sql", text).transactional


def test_a_large_file_with_psqls_commands_is_not_split() -> None:
    with pytest.raises(statements.Unreadable) as refused:
        statements.split(large(20_000) + ";\n\\copy t from x\n")
    assert refused.value.line > 40_000


def test_lint_reads_a_large_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantry.pg.statements._LARGE", 100)
    began = time.process_time()
    found = lint.check_script(Script("1_t.up.sql", large(3000)))
    assert {each.rule.id for each in found} >= {"index-blocks-writes", "file-half-done"}
    assert "drops-table" not in {each.rule.id for each in found}
    assert time.process_time() - began < 30, "every statement asks about all of them"


@pytest.mark.parametrize(
    ("text", "nothing"),
    [
        ("CREATE DATABASE d", True),
        ("DROP DATABASE d", True),
        ("CREATE TABLESPACE t LOCATION '/x'", True),
        ("DROP TABLESPACE t", True),
        ("ALTER SYSTEM SET work_mem = '1GB'", True),
        ("VACUUM", True),
        ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", False),
        ("DROP SUBSCRIPTION s", False),
        ("CALL p()", False),
        ("DO $$ $$", False),
    ],
)
def test_what_fails_without_a_trace_is_known(text: str, *, nothing: bool) -> None:
    [statement] = statements.split(text)
    assert statements.leaves_nothing(statement) is nothing


# ── folders that are sent ────────────────────────────────────────────────────


def member(name: str, content: bytes = b"", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    reported = tarfile.TarInfo(name)
    reported.size = len(content)
    for attribute, value in more.items():
        setattr(reported, attribute, value)
    return reported, content


def sent(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as made:
        for reported, content in members:
            made.addfile(reported, io.BytesIO(content))
    target.seek(0)
    return target


ASKED = member(REQUEST, b'{"action": "up"}')
FIRST = member("1_a.up.sql", "SELECT 'ü';".encode())


def test_a_folder_gives_its_files_one_by_one() -> None:
    found = Folder(sent(ASKED, FIRST, member("1_a.down.sql")))
    assert found.request == b'{"action": "up"}'
    assert dict(found) == {"1_a.up.sql": "SELECT 'ü';", "1_a.down.sql": ""}
    assert dict(Folder(sent(ASKED))) == {}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "first member"),
        ([FIRST], "first member"),
        ([FIRST, ASKED], "first member"),
        ([member(REQUEST, b" " * 70_000)], "more than 65,536 bytes"),
        ([ASKED, FIRST, FIRST], "twice"),
        ([ASKED, member("../1_a.up.sql")], "no file with a name"),
        ([ASKED, member("notes.txt")], "no file with a name"),
        ([ASKED, member("1_a.up.sql", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "no file"),
        ([ASKED, member("1_a.up.sql", type=tarfile.DIRTYPE)], "no file"),
        ([ASKED, member("1_a.up.sql", type=tarfile.GNUTYPE_SPARSE)], "no file"),
        ([ASKED, *[member(f"{i}_a.up.sql") for i in range(2001)]], "more than 2,000 files"),
    ],
)
def test_what_is_no_folder_is_refused(
    members: list[tuple[tarfile.TarInfo, bytes]], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        Folder(sent(*members))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([FIRST, member("01_b.up.sql")], "both the up file"),
        ([member("1_a.up.sql", b"\xff")], "not UTF-8"),
        ([member("1_a.up.sql", b"\0")], "NUL"),
        ([member(f"{2**63}_a.up.sql")], "version"),
    ],
)
def test_what_are_no_migrations_is_refused(
    members: list[tuple[tarfile.TarInfo, bytes]], said: str
) -> None:
    with pytest.raises(BadMigrations, match=said):
        Folder(sent(ASKED, *members))


def test_what_is_larger_or_cut_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sent(ASKED, FIRST).getvalue()
    reported, _ = member("2_a.up.sql")
    reported.size = 2**40
    for cut in (whole[:1024], whole[:1100], whole[:2048] + reported.tobuf(), b"x" * 2048):
        with pytest.raises(InvalidInput, match="no tar archive, or not whole"):
            Folder(io.BytesIO(cut))
    monkeypatch.setattr("tenantry.services.tenant_migrations.folders.MOST_BYTES", 3)
    with pytest.raises(InvalidInput, match="more than 3 bytes"):
        Folder(io.BytesIO(whole))
