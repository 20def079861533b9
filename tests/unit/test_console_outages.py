"""What the console shows while something is wrong: servers down, alerts, locks, a full disk."""

import datetime as dt
import html
import re
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import NOW, database_row
from tenantry.base.errors import MachineError, Unavailable
from tenantry.base.home import Home
from tenantry.control.alerts import AlertRow
from tenantry.pg.clusters import Cluster
from tenantry.services import disk_areas
from tenantry.services.alerts import plan
from tenantry.services.alerts.model import Condition
from tenantry.services.disk_areas import Disk, Stored
from tenantry.services.liveness import Liveness
from tenantry.web import pages, words

DATABASE = uuid.UUID(int=7)
LOG = """shared-1 does not start: The cluster shared-1 did not start.
2026-12-01 02:10:00.000 UTC [71] LOG:  starting PostgreSQL
2026-12-01 02:10:01.000 UTC [75] FATAL:  could not write to file "pg_wal/xlogtemp.75"
2026-12-01 02:10:01.000 UTC [71] LOG:  startup process exited with exit code 1"""


def alert(rule: str, severity: Any = "warning", **changes: Any) -> AlertRow:
    condition = Condition(rule, "platform", "It is so.", severity)
    row = plan.opened(condition, NOW - dt.timedelta(minutes=5), uuid.uuid4())
    values = {name: getattr(row, name) for name in AlertRow.__annotations__}
    return AlertRow(**values | {"state": "firing"} | changes)


def rendered(template: str, **values: Any) -> str:
    return pages._templates.get_template(template).render(
        **{
            "me": None,
            "done": None,
            "now": NOW,
            "ago": lambda moment: words.ago(moment, NOW),
            "state_of": lambda row: words.state_of(row, NOW),
            "may_write": True,
            "may_change": lambda _: True,
            "problem": None,
            "fragment": False,
            **values,
        }
    )


# ── servers that are down ────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("differing", "word", "tone"),
    [
        ({}, "Server down", "bad"),
        ({"quota_state": "read_only"}, "Server down", "bad"),
        ({"wanted": "suspended"}, "Suspended", "off"),
        ({"status": "deleting"}, "Being deleted", "info"),
    ],
)
def test_a_database_whose_server_is_down_is_not_ready(
    differing: dict[str, object], word: str, tone: str
) -> None:
    found = words.state_of(database_row("a", **differing), NOW, is_down=True)
    assert (found.word, found.tone) == (word, tone)


@pytest.mark.parametrize(
    ("differing", "why", "word", "tone"),
    [
        ({}, None, "Ready", "ok"),
        ({}, "No space left", "Down", "bad"),
        ({"ready": False}, "No space left", "Being added", "info"),
        ({"wanted": "stopped"}, "No space left", "Stopped", "off"),
    ],
)
def test_a_cluster_that_is_down_is_not_ready(
    differing: dict[str, object], why: str | None, word: str, tone: str
) -> None:
    row: Any = SimpleNamespace(**{"wanted": "running", "ready": True} | differing)
    found = words.cluster_state(row, why)
    assert (found.word, found.tone) == (word, tone)
    assert found.detail == (why if tone == "bad" else None)


@pytest.mark.parametrize(
    ("status", "pid", "accepts"),
    [
        ("ready   ", 71, True),
        ("standby ", 71, True),
        ("starting", 71, False),
        ("stopping", 71, False),
        ("ready   ", None, False),
        ("", 71, False),
    ],
)
def test_a_server_accepts_connections_if_its_file_says_so(
    tmp_path: Path, status: str, pid: int | None, accepts: bool
) -> None:
    lines = ["71", str(tmp_path), "1764500000", "5432", "/run", "*", "  1  2", status]
    (tmp_path / "postmaster.pid").write_text("\n".join(lines))

    class Standing(Cluster):
        data = tmp_path

        def pid(self) -> int | None:
            return pid

    assert object.__new__(Standing).accepts_connections() is accepts


class Fleet:
    """The first cluster serves or not, the instance db-a is stopped, the list may be damaged."""

    def __init__(self, home: Path, *, serves: bool, is_damaged: bool = False) -> None:
        self.looks = 0
        self._serves = serves
        self._is_damaged = is_damaged
        self.first = SimpleNamespace(accepts_connections=self._look, held=home / "held")

    def _look(self) -> bool:
        self.looks += 1
        return self._serves

    def member(self, name: str) -> object:
        if self._is_damaged:
            raise MachineError("clusters.json is damaged.")
        return SimpleNamespace(wanted="stopped") if name == "db-a" else None


def looking(home: Path, **how: bool) -> tuple[Liveness, Fleet]:
    fleet: Any = Fleet(home, **how)
    return Liveness(Home(home), fleet), fleet


def test_many_databases_on_a_page_are_one_look_at_their_server(tmp_path: Path) -> None:
    liveness, fleet = looking(tmp_path, serves=False)
    assert [liveness.is_down("shared-1") for _ in range(50)] == [True] * 50
    assert fleet.looks == 1


def test_what_is_not_to_run_or_is_not_known_is_not_down(tmp_path: Path) -> None:
    liveness, _ = looking(tmp_path, serves=True)
    assert [liveness.is_down(name) for name in ("shared-1", "db-a", "control", "x")] == [False] * 4
    liveness, _ = looking(tmp_path, serves=False, is_damaged=True)
    assert not liveness.is_down("shared-2")


def test_why_a_server_is_down_is_what_the_supervisor_noted(tmp_path: Path) -> None:
    liveness, _ = looking(tmp_path, serves=False)
    assert liveness.why("shared-1") == "It does not accept connections; it is being started again."
    (tmp_path / "run").mkdir()
    noted = {"part": "shared-1", "detail": "No space left.", "since": NOW.isoformat()}
    text = str({"incidents": {"shared-1": noted}}).replace("'", '"')
    (tmp_path / "run" / "incidents.json").write_text(text)
    assert liveness.why("shared-1") == "No space left.\nIt is being started again."
    (tmp_path / "held").touch()
    assert liveness.why("shared-1") == "It is being restored, and is started by itself then."


# ── long texts ───────────────────────────────────────────────────────────────


def test_lines_of_a_log_begin_with_why_the_server_gave_up() -> None:
    found = words.account(LOG)
    assert found.lead == (
        "shared-1 does not start: The cluster shared-1 did not start. FATAL:  could not write to"
        ' file "pg_wal/xlogtemp.75"'
    )
    assert found.whole == LOG


def test_many_remarks_are_one_line_and_details() -> None:
    remarks = "postgresql: apt offers 15.10-1 for 15.9-1. As root, apt-get upgrades it. " * 14
    found = words.account(remarks)
    assert found.lead == "postgresql: apt offers 15.10-1 for 15.9-1."
    assert found.whole == remarks.rstrip()
    assert words.account("It is so. It is.") == words.Account("It is so. It is.")
    assert words.account(None) == words.Account("")


@given(st.text())
def test_nothing_of_a_text_is_lost(text: str) -> None:
    found = words.account(text)
    shown = found.whole or found.lead
    assert "".join(shown.split()) == "".join(text.split())
    assert bool(found.lead) == bool(text.strip())


# ── alerts ───────────────────────────────────────────────────────────────────


def test_attention_is_red_for_critical_alerts_only() -> None:
    critical, warning = alert("disk", "critical"), alert("versions")
    muted = alert("part", "critical", muted_until=NOW + dt.timedelta(hours=1))
    unmuted = alert("part", "critical", muted_until=NOW - dt.timedelta(hours=1))
    assert words.attention([], NOW) is None
    assert words.attention([muted], NOW) is None
    assert words.attention([warning, muted], NOW) == words.State("1 warning", "warn")
    said = words.State("2 critical alerts and 1 warning", "bad")
    assert words.attention([critical, unmuted, warning], NOW) == said


def test_an_alert_leads_to_the_page_that_shows_more() -> None:
    assert words.place_of(alert("disk")) == ("/platform", "Health")
    assert words.place_of(alert("clock")) is None
    of_database = alert("database.transaction", database_id=DATABASE)
    of_locks = alert("database.blocked", database_id=DATABASE)
    sessions = (f"/databases/{DATABASE}/sessions", "Sessions")
    assert words.place_of(of_database) == words.place_of(of_locks) == sessions
    assert words.place_of(alert("database.errors", database_id=DATABASE)) is None


def test_alerts_that_last_come_before_those_that_are_resolved() -> None:
    page = rendered(
        "alerts.html",
        lasting=[alert("part", "critical", detail=LOG, subject="<b>"), alert("versions")],
        is_cut=False,
        alerts=[alert("clock", state="resolved", resolved_by="ann", resolved_at=NOW)],
        filters={"state": "", "severity": "", "rule": ""},
        following=None,
    )
    assert re.findall(r"<strong>(\w+)</strong>", page) == ["part", "versions", "clock"]
    assert re.findall(r"<h2>(\w+)</h2>", page) == ["Now", "Resolved"]
    assert html.escape(LOG, quote=False).replace('"', "&#34;") in page.split("<details>")[1]
    assert "&lt;b&gt;" in page
    assert page.count(">Resolve</button>") == 2
    assert "Resolved by ann." in page
    assert re.findall(r'<span class="dim" title="[^"]+">([^<]+)', page) == [
        "Firing, critical, since 5 min",
        "Firing, warning, since 5 min",
        "Resolved 0 s ago",
    ]


def test_a_page_without_alerts_says_so() -> None:
    filters = {"state": "", "severity": "", "rule": ""}
    nothing: dict[str, Any] = {"lasting": [], "alerts": [], "is_cut": False, "following": None}
    assert "Nothing needs attention." in rendered("alerts.html", filters=filters, **nothing)
    filters["rule"] = "x"
    assert "Nothing matches." in rendered("alerts.html", filters=filters, **nothing)


# ── locks ────────────────────────────────────────────────────────────────────


def waiting(pid: int, blocks: int) -> SimpleNamespace:
    activity = SimpleNamespace(pid=pid, state="active", started_at=NOW)
    return SimpleNamespace(
        session=SimpleNamespace(activity=activity), depth=0, blocks=blocks, wait=None
    )


@pytest.mark.parametrize("may_write", [True, False])
def test_who_blocks_others_can_be_ended_where_that_is_seen(may_write: bool) -> None:
    row = database_row("abcdefghjkmn")
    page = rendered(
        "database_sessions.html",
        row=row,
        path=f"/databases/{row.id}",
        groups={},
        tab="/sessions",
        sessions=[],
        waiting=[waiting(71, 2), waiting(72, 0)],
        may_write=may_write,
    )
    said = re.findall(r'aria-label="(End the session [^"]+)"', page)
    assert said == ["End the session 71, for which others wait"] * may_write
    ends = f'action="/databases/{row.id}/sessions/71/terminate"'
    assert (ends in page, f'name="started_at" value="{NOW.isoformat()}"' in page) == (
        (may_write, may_write)
    )


# ── the disk ─────────────────────────────────────────────────────────────────


def test_the_log_of_all_clusters_is_summed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "pg_wal" / "archive_status").mkdir(parents=True)
        (tmp_path / name / "pg_wal" / "000000010000000000000001").write_bytes(b"x" * 1000)
    folders = [tmp_path / name for name in ("a", "b", "gone")]
    of_folder = (tmp_path / "a" / "pg_wal" / "archive_status").stat().st_size
    assert disk_areas._wal_bytes(folders) == 2 * (1000 + of_folder)


def disk(**changes: Any) -> Disk:
    usual: dict[str, Any] = {
        "home": Path("/var/lib/tenantry"),
        "total": 100 * 2**30,
        "free": 10 * 2**30,
        "wal": 4 * 2**30,
        "stored": Stored(40 * 2**30, 6 * 2**30, [database_row("a", used_bytes=30 * 2**30)]),
        "repository": None,
    }
    return Disk(**usual | changes)


def test_the_rest_of_the_disk_is_never_negative() -> None:
    assert disk().rest == 40 * 2**30
    assert disk(stored=Stored(99 * 2**30, 0, [])).rest == 0  # sizes are of a moment ago


def test_health_shows_what_takes_the_disk_and_names_pools_by_their_database() -> None:
    row = database_row("abcdefghjkmn", name="shop")
    pool = {"clients_active": 1, "clients_waiting": 0, "servers_active": 1, "servers_idle": 0}
    pools = [
        SimpleNamespace(database=name, username="user_a", longest_wait_seconds=0.0, **pool)
        for name in (row.database_name, "tenantry_fallback")
    ]
    part = SimpleNamespace(name="disk", state="down", latency_ms=None, detail="only 1 MiB is free")
    page = rendered(
        "platform.html",
        found=SimpleNamespace(ready=False, parts=[part]),
        disk=disk(repository=(Path("/mnt/backups"), 2**40)),
        pooler=SimpleNamespace(
            version="PgBouncer 1.25.2",
            clients=1,
            servers=1,
            budget=90,
            pool_size=20,
            memory_bytes=1,
            memory_limit_bytes=2,
            pools=pools,
        ),
        pools=[(pools[0], row), (pools[1], None)],
    )
    assert '<span class="dot bad"></span>10 GiB free of 100 GiB' in page
    assert re.findall(r"<dt>([^<]+)</dt><dd>([^<]+?) ?<", page) == [
        ("Databases", "40 GiB"),
        ("Write-ahead log", "4 GiB"),
        ("Backups of single databases", "6 GiB"),
        ("Everything else", "40 GiB"),
        ("Physical backups", "on the disk of"),
    ]
    assert f'<a href="/databases/{row.id}">shop</a>' in page
    assert "<code>tenantry_fallback</code>" in page


def test_a_way_in_that_is_closed_says_what_to_do() -> None:
    error = Unavailable(
        "The control database does not answer.",
        hint="See ./tenantry status; nothing was changed.",
    )
    page = rendered("sign_in.html", next="/", email="", error=error)
    assert "The control database does not answer." in page
    assert "try again in a minute" in page
    assert "`tenantry doctor`" in page


def test_a_cluster_without_a_port_shows_none() -> None:
    usual: dict[str, Any] = {
        "id": DATABASE,
        "container_name": None,
        "wanted": "running",
        "ready": True,
    }
    usual |= {"version": 15, "port": 5432, "databases": 0, "max_databases": 2000}
    rows = [
        SimpleNamespace(**usual, name=name, kind=kind)
        for name, kind in (("control", "control"), ("shared-1", "shared"))
    ]
    states = [words.State("Ready", "ok"), words.State("Down", "bad", LOG)]
    page = rendered("clusters.html", clusters=[*zip(rows, states, strict=True)], backups={})
    assert re.findall(r"15, ([\w ]+)", page) == ["no port", "port 5432"]
    assert re.findall(r'<span class="dot (\w+)"></span>(\w+)', page) == [
        ("ok", "Ready"),
        ("bad", "Down"),
    ]
    assert "FATAL:  could not write" in page
