"""``.env``: its own lines are replaced, others are kept, and every reader reads the same."""

import os
import subprocess
from pathlib import Path

import pytest
from cli_support import strings
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.cli import env_file
from tenantry.cli.env_file import merged, own_lines, stored_password
from tenantry.cli.variables import Wanted

NAME = "tenant_bcdfghjkmnpq"
WANTED = Wanted(strings(), "/srv/shop/ca.crt", "***", prefix="DB_")
KNOWN = Wanted(strings(), "/srv/shop/ca.crt", "secret")


def text(wanted: Wanted = WANTED, before: str = "", *, replace: bool = False) -> str:
    return merged(before, wanted, "shop", replace_lines=replace)[0]


def sourced(content: str) -> dict[str, str]:
    """What a shell that reads the file sets."""
    done = subprocess.run(
        ["bash", "-c", "set -a; . /dev/stdin; env -0"],
        input=content,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


def test_the_names_are_those_that_programs_look_for() -> None:
    variables = WANTED.variables()
    assert list(variables) == [
        *("DATABASE_URL", "DIRECT_URL", "SHADOW_DATABASE_URL"),
        *("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGSSLMODE", "PGPASSWORD", "PGSSLROOTCERT"),
        "NODE_EXTRA_CA_CERTS",
        *("DB_TYPE", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"),
        *("DB_SSLMODE", "DB_SSL_MODE"),
    ]
    verified = "?sslmode=verify-full&sslrootcert=/srv/shop/ca.crt"
    login = "postgresql://user_bcdfghjkmnpq:***@db.example.com"
    assert variables["DATABASE_URL"] == f"{login}:6432/{NAME}{verified}"
    assert variables["DIRECT_URL"] == f"{login}:5432/{NAME}{verified}"
    assert variables["SHADOW_DATABASE_URL"] == f"{login}:5432/{NAME}_shadow{verified}"
    assert (variables["PGPORT"], variables["DB_PORT"]) == ("5432", "5432")
    pooled = Wanted(strings(), "/srv/shop/ca.crt", "***", prefix="DB_", pooled=True).variables()
    assert (pooled["PGPORT"], pooled["DB_PORT"]) == ("6432", "6432")


def test_a_shell_reads_it() -> None:
    assert WANTED.variables().items() <= sourced(text()).items()


printable = st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["C", "Z"]), min_size=1)


@given(printable)
def test_any_password_is_read_as_it_is_or_refused(password: str) -> None:
    wanted = Wanted(strings(), "/srv/shop/ca.crt", password)
    try:
        content = text(wanted)
    except InvalidInput:
        assert "'" in password
        assert set(password) & set('"\\$`')
        return
    line = next(line for line in content.splitlines() if line.startswith("PGPASSWORD="))
    value = line.removeprefix("PGPASSWORD=")
    assert (value[1:-1] if value[0] in "'\"" else value) == password
    assert stored_password(own_lines(content, NAME), wanted) == (
        None if password == "***" else password
    )


others = st.lists(
    st.sampled_from(["A=1", "# a note", "", "export B='x y'", 'C="1', '2"', "PGAPPNAME=x\r"]),
)


@given(others, others)
def test_the_lines_of_others_stay(above: list[str], below: list[str]) -> None:
    mine = text()
    content = "\n".join([*above, mine.removesuffix("\n"), *below, ""])
    again = text(KNOWN, content)
    kept = "\n".join(again.split("\n"))
    start, end = kept.index("# begin tenantry"), kept.index("# end tenantry")
    assert kept[:start].rstrip("\n") == "\n".join(above).rstrip("\n")
    assert kept[end:] == "\n".join(["# end tenantry", *below, ""])
    assert text(KNOWN, again) == again, "what is written again is the same"


def test_variables_of_others_are_not_replaced_unless_reported() -> None:
    before = "A=1\nexport DATABASE_URL=mysql://x\n  PGHOST = y\nB=2\n"
    with pytest.raises(Conflict, match="DATABASE_URL, PGHOST"):
        text(before=before)
    content, replaced = merged(before, WANTED, "shop", replace_lines=True)
    assert replaced == ["DATABASE_URL", "PGHOST"]
    assert content.startswith("A=1\nB=2\n\n# begin tenantry")
    assert "mysql" not in content


def test_another_databases_lines_are_anothers() -> None:
    other = Wanted({**strings(), "database_name": "tenant_other"}, "/ca.crt", "precious")
    before = text(other)
    with pytest.raises(Conflict, match="PGPASSWORD"):
        text(before=before)
    taken = text(before=before, replace=True)
    assert (taken.count("# begin"), taken.count("# end")) == (1, 1)
    assert "precious" not in taken


def test_a_block_without_its_end_is_nobodys() -> None:
    with pytest.raises(Conflict, match="DATABASE_URL"):
        text(before=text().replace("# end tenantry", ""))


def test_half_a_value_is_not_taken_out() -> None:
    before = 'DATABASE_URL="first\nsecond"\n'
    with pytest.raises(Conflict, match="several lines"):
        text(before=before, replace=True)


def test_the_only_copy_of_a_password_stays() -> None:
    own = own_lines(text(KNOWN), NAME)
    assert stored_password(own, WANTED) == "secret"
    typed = text().replace(":***@", ":typed@", 1)
    assert stored_password(own_lines(typed, NAME), WANTED) == "typed"
    assert stored_password(own_lines(text(), NAME), WANTED) is None
    renamed = [line.replace("PGUSER=user_", "PGUSER=other_") for line in own]
    assert stored_password(renamed, WANTED) is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Root would give the folder's owner what another file holds."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("A=1\n")
    (tmp_path / ".env").symlink_to(elsewhere)
    with pytest.raises(Conflict, match="is a link"):
        env_file._write(tmp_path, KNOWN, "shop", "pem", replace_lines=True)
    assert elsewhere.read_text() == "A=1\n"
    assert not (tmp_path / "ca.crt").exists()


def test_anothers_certificate_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("theirs")
    with pytest.raises(Conflict, match="another certificate"):
        env_file._write(tmp_path, KNOWN, "shop", "pem", replace_lines=False)
    env_file._write(tmp_path, KNOWN, "shop", "pem", replace_lines=True)
    (tmp_path / "ca.crt").unlink()
    os.mkfifo(tmp_path / "ca.crt")  # its reader would wait for somebody who writes
    renewed = env_file._write(tmp_path, WANTED, "shop", "new pem", replace_lines=False)
    assert (tmp_path / "ca.crt").read_text() == "new pem"
    assert renewed.password == "kept"
