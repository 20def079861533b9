"""What of archives and of differences is decided without a server."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tenantry.pg import archives
from tenantry.pg.archives import Item
from tenantry.pg.connections import startup_options
from tenantry.services.restores.model import WouldLose
from tenantry.services.restores.transfer import Counts, compare

EMPTIED = b"SELECT pg_catalog.set_config('search_path', '', false);\n"


@pytest.mark.parametrize(
    ("line", "kind", "reported"),
    [
        ("216; 1255 16386 FUNCTION public norm(text) shop", "FUNCTION",
         "FUNCTION public.norm(text)"),
        ("9; 2606 7 FK CONSTRAINT a orders my fk shop", "FK CONSTRAINT",
         "FK CONSTRAINT a.orders my fk"),
        ("3; 0 16 MATERIALIZED VIEW DATA public v user_x", "MATERIALIZED VIEW DATA",
         "MATERIALIZED VIEW DATA public.v"),
        ("2; 3079 1 EXTENSION - citext ", "EXTENSION", "EXTENSION citext"),
    ],
)  # fmt: skip
def test_an_item_is_read_from_its_line(line: str, kind: str, reported: str) -> None:
    item = Item.of(line)
    assert (item.number, item.kind, str(item), item.line) == (
        int(line.partition(";")[0]),
        kind,
        reported,
        line,
    )


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_line_is_an_item(rest: str) -> None:
    assert Item.of(f"7; {rest}").number == 7


@pytest.mark.parametrize("is_folder", [True, False])
def test_the_search_path_is_kept_and_nothing_else_changed(tmp_path: Path, is_folder: bool) -> None:
    archive = tmp_path / "dump"
    file = archive
    if is_folder:
        archive.mkdir()
        file = archive / "toc.dat"
    before = b"PGDMP\1\16" + EMPTIED + b"\0\0function's body: " + EMPTIED + b"rest"
    file.write_bytes(before)
    archives.keep_search_path(archive)
    after = file.read_bytes()
    assert len(after) == len(before)
    assert after.startswith(b"PGDMP\1\16RESET search_path;   ")


def test_what_has_no_search_path_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "dump"
    file.write_bytes(b"PGDMP of an old pg_dump")
    archives.keep_search_path(file)
    assert file.read_bytes() == b"PGDMP of an old pg_dump"


SERVERS = "could not execute query: ERROR:  relation x does not exist"
OTHERS = "finished item 3416 TABLE DATA f2"
ENDED = "pg_restore: warning: errors ignored on restore: "


def pieces(text: str) -> list[str]:
    """What a job writes of a line, one by one."""
    level, _, rest = text.rpartition("error: ")
    return ["pg_restore: ", *(["error: "] if level or rest != text else []), rest, "\n"]


@given(st.data())
def test_jobs_that_write_at_once_are_understood(data: st.DataObject) -> None:
    """The pieces of jobs' lines follow each other in any order: no item is missed by that."""
    other = st.sampled_from([OTHERS, 'processing data for table "public.b"', ""])
    failed = data.draw(st.lists(st.sampled_from([7, 9, 71]), min_size=1, unique=True))
    lines = [
        [f"from TOC entry {each}; 0 16386 TABLE DATA public a shop", f"error: {SERVERS}"]
        for each in failed
    ]
    jobs = [[piece for line in each for piece in pieces(line)] for each in lines]
    jobs.append([piece for line in data.draw(st.lists(other)) for piece in pieces(line)])
    written = ""
    while any(jobs):
        written += data.draw(st.sampled_from([each for each in jobs if each])).pop(0)
    said = archives._Said(None)
    for line in written.split("\n"):
        said.hear(line)
    assert said.broken is None
    assert sorted(said.failed) == sorted(failed)
    assert {each[: len("relation x does not exist")] for each in said.failed.values()} <= {
        "relation x does not exist",
        "",
    }
    assert not said.accounts_for(1)
    said.hear(f"{ENDED}{len(failed)}")
    assert said.accounts_for(1)
    assert not said.accounts_for(-9)


def test_a_text_of_the_databases_is_not_the_end() -> None:
    said = archives._Said(None)
    said.hear("pg_restore: from TOC entry 7; 0 16386 TABLE DATA public a shop")
    for line in (f"{ENDED}1", f'pg_restore: processing data for table "public.{ENDED}1"', ""):
        said.hear(line)
        said.hear("pg_restore: error: a worker process died")
        assert not said.accounts_for(1)


def test_settings_that_the_server_does_not_know_are_no_failure() -> None:
    said = archives._Said(None)
    unknown = 'error: could not execute query: ERROR:  unrecognized configuration parameter "x"'
    said.hear(f"pg_restore: {unknown}")
    said.hear(f"{ENDED}1")
    assert said.broken is None
    assert said.accounts_for(1)


def test_an_error_that_is_not_of_an_item_breaks_it() -> None:
    said = archives._Said(None)
    said.hear("pg_restore: error: a worker process died unexpectedly")
    assert said.broken == "a worker process died unexpectedly"


@given(st.dictionaries(st.from_regex(r"[a-z]+(\.[a-z]+)?", fullmatch=True), st.text("a'\" \\,$")))
def test_settings_survive_libpqs_options(settings: dict[str, str]) -> None:
    reported = conninfo_to_dict(make_conninfo(options=startup_options(settings))).get("options", "")
    # As PostgreSQL's pg_split_opts takes them apart.
    words, word, escaped, started = [], "", False, False
    for letter in str(reported):
        if escaped or letter not in "\\ ":
            word, escaped, started = word + letter, False, True
        elif letter == "\\":
            escaped = started = True
        elif started:
            words.append(word)
            word, started = "", False
    assert [*words, word][: len(settings)] == [f"-c{n}={v}" for n, v in settings.items()]


def test_rows_are_compared_but_for_what_is_reported() -> None:
    then = Counts({"a.t": 1, "a.u": 2, "a.v": 3, "a.gone": 4, "a.same": 5}, {"a.v"})
    now = Counts({"a.t": 1, "a.u": 3, "a.v": 4, "a.same": 5}, {"a.v"})
    found = compare(then, now, [{"object": "TABLE a.gone", "reason": ""}])
    assert found.wrong == ["a.u"]
    assert [each["object"] for each in found.refreshed] == ["MATERIALIZED VIEW DATA a.v"]


def test_losses_need_consent_and_are_named() -> None:
    WouldLose.require_nothing("tenant_x", [])
    lost = [{"object": f"INDEX a.i{number}", "reason": "why"} for number in range(7)]
    with pytest.raises(WouldLose, match=r"INDEX a\.i0 \(why\).* and 2 more") as caught:
        WouldLose.require_nothing("tenant_x", lost)
    assert caught.value.status == 409
    assert "accept_losses" in str(caught.value.hint)
