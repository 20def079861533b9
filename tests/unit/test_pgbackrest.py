"""pgBackRest: its configuration says what it should and nothing else, and its answers are read."""

import datetime as dt
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import TenantryError
from tenantry.base.secrets import Secret
from tenantry.host import files, packages
from tenantry.pg.connections import Address
from tenantry.pg.pgbackrest import PgBackRest
from tenantry.pg.pgbackrest_output import Contents, RepositoryBusy, RepositoryError, failure
from tenantry.pg.repositories import LocalRepository, S3Repository, Stanza, is_configured, render

FOLDER = Path("/home of it/pgbackrest")
STANZA = Stanza("shared-1", Path("/data"), Address(Path("/run/shared-1"), 5432))
LOCAL = LocalRepository(Path("/backups"))
S3 = S3Repository(
    "https://s3.example.com:9000", "bucket", "eu-1", "some/path/", Secret("k"), Secret("s")
)
# As pgBackRest 2.45 reported it of one stanza with two backups.
REPORTED = {
    "archive": [
        {"database": {"id": 1, "repo-key": 1}, "id": "15-1", "max": "0" * 23 + "4", "min": "0" * 24}
    ],
    "backup": [
        {
            "archive": {"start": "000000010000000000000003", "stop": "000000010000000000000004"},
            "database": {"id": 1, "repo-key": 1},
            "error": False,
            "info": {
                "delta": 8458,
                "repository": {"delta": 464, "size": 2828352},
                "size": 22992536,
            },
            "label": "20261121-074804F_20261121-074806I",
            "lsn": {"start": "0/3000028", "stop": "0/4000050"},
            "prior": "20261121-074804F",
            "reference": ["20261121-074804F"],
            "timestamp": {"start": 1795247286, "stop": 1795247288},
            "type": "incr",
        }
    ],
    "db": [{"id": 1, "repo-key": 1, "system-id": 7710528362933803820, "version": "15"}],
    "name": "c",
    "repo": [{"cipher": "aes-256-cbc", "key": 1, "status": {"code": 0, "message": "ok"}}],
    "status": {"code": 0, "lock": {"backup": {"held": False}}, "message": "ok"},
}


def read(text: str) -> dict[str, dict[str, str]]:
    """The file, as pgBackRest reads it: no interpolation, = only, comments on their own lines."""
    parser = ConfigParser(
        interpolation=None, delimiters=("=",), comment_prefixes=("#",), strict=True
    )
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def test_repositories_are_numbered_and_encrypted() -> None:
    found = read(render("pgbackrest", FOLDER, {1: LOCAL, 2: S3}, [STANZA], Secret("the key")))
    general = found["global"]
    assert general["repo1-type"] == "posix"
    assert general["repo1-path"] == "/backups"
    assert general["repo2-type"] == "s3"
    assert general["repo2-path"] == "/some/path"
    assert (general["repo2-s3-endpoint"], general["repo2-storage-port"]) == (
        "s3.example.com",
        "9000",
    )
    for number in (1, 2):
        assert general[f"repo{number}-cipher-type"] == "aes-256-cbc"
        assert general[f"repo{number}-cipher-pass"] == "the key"
    assert found["shared-1"]["pg1-path"] == "/data"
    alone = read(render("pgbackrest", FOLDER, {2: S3}, [STANZA], Secret("the key")))["global"]
    assert alone == {name: value for name, value in general.items() if "repo1" not in name}


values = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1)


@given(values)
def test_what_is_rendered_is_read_back_the_same(value: str) -> None:
    text = render(
        "pgbackrest", FOLDER, {1: LocalRepository(Path("/") / value)}, [STANZA], Secret(value)
    )
    assert read(text)["global"]["repo1-cipher-pass"] == value


@given(values, st.sampled_from(["\n", "\r", "\r\n", "\x0b", "\x85", "\u2028"]))
def test_a_line_break_gets_nowhere(value: str, ending: str) -> None:
    for passphrase in (value + ending, value + ending + value):
        with pytest.raises(ValueError, match="repo1-cipher-pass"):
            render("pgbackrest", FOLDER, {1: LOCAL}, [STANZA], Secret(passphrase))


def test_postgresql_and_the_shell_leave_the_folder_of_the_command_alone() -> None:
    command = PgBackRest(Path("/usr/bin/pgbackrest"), Path("/a %p 'b'")).archive_command("c")
    assert "--config=/a %%p" in command
    assert command.count(" %p") == 1
    assert "secret" not in command


@pytest.mark.skipif(packages.find_eatmydata() is None, reason="needs libeatmydata1")
@pytest.mark.parametrize(("durable", "loaded"), [(True, ""), (False, "libeatmydata.so")])
async def test_only_what_may_be_lost_with_the_power_is_restored_without_fsync(
    tmp_path: Path, durable: bool, loaded: str
) -> None:
    program = tmp_path / "pgbackrest"
    program.write_text('#!/bin/sh\nprintf %s "$LD_PRELOAD" >"$0.loaded"\n')
    program.chmod(0o700)
    await PgBackRest(program, tmp_path).restore("c", tmp_path / "data", durable=durable)
    assert files.last_words(Path(f"{program}.loaded")).rpartition("/")[2] == loaded


def test_what_a_repository_holds_is_read() -> None:
    found = Contents.read(REPORTED, 1)
    (backup,) = found.backups
    assert found.problem is None
    assert found.wal == ("0" * 24, "0" * 23 + "4")
    assert (backup.type, backup.references) == ("incr", ("20261121-074804F",))
    assert backup.stopped == dt.datetime(2026, 11, 21, 7, 48, 8, tzinfo=dt.UTC)
    assert (backup.size, backup.stored) == (22992536, 464)


@pytest.mark.parametrize(
    ("code", "problem", "absent"),
    [
        (0, None, False),
        (2, None, False),
        (1, "missing", True),
        (3, "missing", True),
        (99, "missing", False),
    ],
)
def test_what_a_repository_does_not_show_is_a_problem(
    code: int,
    problem: str | None,
    absent: bool,
) -> None:
    status = {"code": code, "message": "missing"}
    reported = REPORTED | {
        "repo": [{"key": 1, "status": status}],
        "backup": [],
        "archive": [],
        "db": [],
    }
    found = Contents.read(reported, 1)
    assert (found.problem, found.wal, found.system_id) == (problem, None, None)
    assert found.absent == absent


def test_a_configuration_shows_of_the_repositories_that_it_was_made_for_alone() -> None:
    text = render("pgbackrest", FOLDER, {1: LOCAL, 2: S3}, [STANZA], Secret("the key"))
    assert is_configured(text, 1, LOCAL)
    assert is_configured(text, 2, S3)
    assert not is_configured(text, 2, LOCAL)
    assert not is_configured(text, 1, LocalRepository(Path("/backups/of/others")))
    assert not is_configured(text, 2, replace(S3, bucket="another"))
    assert not is_configured(text, 2, replace(S3, key=Secret("another")))
    assert not is_configured("", 1, LOCAL)


@pytest.mark.parametrize(
    ("said", "kind", "detail"),
    [
        (
            "WARN: something\nERROR: [056]: unable to find primary\n            HINT: start it\n",
            RepositoryError,
            "pgBackRest's backup of c failed: unable to find primary HINT: start it",
        ),
        ("P00  ERROR: [050]: unable to acquire lock\n", RepositoryBusy, "A backup of c is being"),
        ("", RepositoryError, "it ended with 7 and printed nothing"),
    ],
)
def test_a_failure_says_what_pgbackrest_said(
    said: str, kind: type[TenantryError], detail: str
) -> None:
    error = failure("backup", "c", said, 7)
    assert type(error) is kind
    assert detail in error.detail


def test_no_command_takes_options_from_the_environment() -> None:
    program = PgBackRest(Path("/usr/bin/pgbackrest"), Path("/folder"))
    clean = "/usr/bin/env -i TZ=UTC /usr/bin/pgbackrest"
    assert program.archive_command("c").startswith(f"{clean} --config=")
    assert (
        read(render(program.command, FOLDER, {1: LOCAL}, [STANZA], Secret("k")))["global"]["cmd"]
        == clean
    )
