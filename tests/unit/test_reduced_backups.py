"""The list of a backup's files, without those of databases that nobody asks for."""

import hashlib
import json
from pathlib import Path

import pytest

from tenantry.pg.reduced_backups import MOST_BYTES, Unknown, cipher_key, link, reduced

FILE = {"bni": 1, "checksum": "a" * 40, "size": 8192, "timestamp": 1795247286}
LARGE = FILE | {"size": MOST_BYTES + 1}
STAYS = {
    "pg_data/PG_VERSION": FILE,
    "pg_data/base/1/1259": FILE,  # of template1
    "pg_data/base/16384/1259": FILE,  # asked for
    "pg_data/base/16385/PG_VERSION": FILE,  # by which pgBackRest knows that it is there
    "pg_data/base/16385/16390": LARGE,
    "pg_data/base/16386/1259": FILE,  # of a postgres that somebody has made again
    "pg_data/base/pgsql_tmp/16385": FILE,
    "pg_data/global/1262": FILE,
}
GOES = {
    "pg_data/base/16385/1259": FILE,
    "pg_data/base/16385/1259_vm": FILE | {"size": 0},
    "pg_data/base/16385/pg_filenode.map": FILE | {"size": MOST_BYTES, "reference": "20261121F"},
}
Sections = dict[str, dict[str, object]]


def sections(files: dict[str, dict[str, object]]) -> Sections:
    """A list, as pgBackRest 2.45 has it."""
    return {
        "backrest": {"backrest-format": 5, "backrest-version": "2.45"},
        "backup": {"backup-label": "20261121-074804F"},
        "cipher": {"cipher-pass": "of the files"},
        "db": {
            'a={"b': {"db-id": 16385, "db-last-system-id": 14000},
            "postgres": {"db-id": 16386, "db-last-system-id": 14000},
            "wanted": {"db-id": 16384, "db-last-system-id": 14000},
        },
        "target:file": dict(sorted(files.items())),
        "target:path": {"pg_data/base/16385": {}},
    }


def rendered(found: Sections) -> str:
    compact = json.dumps(found, separators=(",", ":")).replace('"a={\\"b"', '"a={"b"')
    lines = []
    for section, values in found.items():
        lines += [f"[{section}]"]
        lines += [
            f"{key}={json.dumps(each, separators=(',', ':'))}" for key, each in values.items()
        ]
        lines += [""]
    digest = hashlib.sha1(compact.encode(), usedforsecurity=False).hexdigest()
    return "\n".join([*lines, "[backrest]", f'backrest-checksum="{digest}"', ""])


def choose(known: dict[str, int]) -> list[str]:
    return ["wanted"] if "wanted" in known else []


def test_small_files_of_other_databases_go_and_the_checksum_is_that_of_the_rest() -> None:
    whole = rendered(sections(STAYS | GOES))
    found = reduced(whole.splitlines(), choose)
    assert found.text == rendered(sections(STAYS))
    assert found.known == {"wanted": 16384, 'a={"b': 16385}


def test_a_list_that_is_damaged_is_not_reduced() -> None:
    whole = rendered(sections(STAYS | GOES))
    for wrong in (
        whole.replace("8192", "8193", 1),
        whole.replace("pg_data/base/16385/1259_vm", "pg_data/base/16385/1260_vm"),
        whole.replace("of the files", "of other files"),
        whole.replace('={"db-id":16384', "", 1),
        whole.rpartition("[backrest]")[0],
        whole.replace('"size":0,', ""),
        "",
    ):
        with pytest.raises(Unknown):
            reduced(wrong.splitlines(), choose)


def test_the_key_of_the_list_is_found() -> None:
    reported = '[backrest]\nbackrest-format=5\n\n[cipher]\ncipher-pass="a\\"b"\n'
    assert cipher_key(reported) == 'a"b'
    with pytest.raises(Unknown):
        cipher_key("[backrest]\nbackrest-format=5\n")


def test_all_but_one_list_is_a_link(tmp_path: Path) -> None:
    backups = tmp_path / "real" / "backup" / "shared-1"
    for name in ("before/bundle", "wanted/bundle", "wanted/pg_data"):
        (backups / name).mkdir(parents=True)
    for name in ("before/backup.manifest", "wanted/backup.manifest", "wanted/backup.manifest.copy"):
        (backups / name).write_text(name)
    (backups / "backup.info").touch()
    (tmp_path / "real" / "archive").mkdir()
    link(tmp_path / "real", "shared-1", "wanted", tmp_path / "linked")
    linked = tmp_path / "linked" / "backup" / "shared-1"
    assert {each.name for each in linked.iterdir()} == {"backup.info", "before", "wanted"}
    assert {each.name for each in (linked / "wanted").iterdir()} == {"bundle", "pg_data"}
    assert (linked / "before" / "backup.manifest").read_text() == "before/backup.manifest"
    assert (tmp_path / "linked" / "archive").resolve() == tmp_path / "real" / "archive"
