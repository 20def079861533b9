"""What a script has, reported without a server."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenantry.pg import script_survey

DUMPS = Path(__file__).parents[1] / "dumps"


def survey(file: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", script_survey.__name__, file, str(2**20)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    reported: dict[str, Any] = json.loads(done.stdout)
    return reported


def roles(reported: dict[str, Any]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for _, role, use, count in reported["roles"]:
        uses = found.setdefault(role, {})
        uses[use] = uses.get(use, 0) + count
    return found


def test_a_dump_of_neons_names_roles() -> None:
    reported = survey(DUMPS / "neon.sql")
    assert (reported["version"], reported["tables"]) == ("17.5", [["public", "notes"]])
    assert roles(reported) == {
        "neondb_owner": {"owns": 1},
        "authenticated": {"policies": 1},
        "anon": {"grants": 1},
    }


def test_a_dump_of_supabases_has_schemas_and_extensions(tmp_path: Path) -> None:
    packed = tmp_path / "dump.gz"
    packed.write_bytes(gzip.compress((DUMPS / "supabase.sql").read_bytes()))
    reported = survey(packed)
    assert {"auth", "vault", "public"} <= set(reported["schemas"])
    assert reported["extensions"] == ["pg_net", "pg_trgm", "supabase_vault"]
    assert ["auth", "users"] in reported["tables"]


def test_data_is_no_statement_and_settings_are_heard(tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_bytes(
        b"COPY t FROM stdin;\nGRANT SELECT ON t TO evil;\n\\.\n"
        b"SET standard_conforming_strings = off;\n"
        b"COMMENT ON TABLE t IS 'a\\'; GRANT SELECT ON t TO evil; --';\n"
        b"GRANT SELECT ON t TO PUBLIC, good;\nREVOKE SELECT ON t FROM gone;\n"
    )
    assert roles(survey(file)) == {"good": {"grants": 1}}


@pytest.mark.parametrize(
    ("content", "said"), [(b"\\! touch x\n", "psql's"), (b"SELECT 'cut", "middle of a statement")]
)
def test_what_is_not_taken_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "script"
    file.write_bytes(content)
    assert said in survey(file)["refused"]
