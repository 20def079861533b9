"""The scene of a crash: an installation that is killed at a step, and what must hold afterwards."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg
from psycopg import sql

from clients import eventually
from harness import SERVICE_USER, Installation, as_service_user
from tenantry.host import processes

Part = Literal["api", "worker", "listener"]
Victim = Literal["api", "worker", "shared-1", "control", "pooler", "listener"]
VICTIMS: tuple[Victim, ...] = ("api", "worker", "shared-1", "control", "pooler")

ALL_KILLS = os.environ.get("TENANTRY_TEST_KILLS") == "all"  # as bench/kills.py has it

PLUGIN = Path(__file__).parent / "plugin"
WARM = 2
SMALL_LIMIT = 10  # connections: small enough to need a line in the pooler's users.ini
ROWS = 1_000
PATIENCE = 120.0  # a machine may have much else to do
POLL_SECONDS = 0.02
REFUSED = "(password|SASL) authentication failed|no such user|no pg_hba.conf entry"

Database = dict[str, Any]


def blows(steps: Sequence[str], doer: Part) -> list[tuple[str, Victim]]:
    """What is killed at each step: whoever does it, and one other, in turns; or every part."""
    others = [victim for victim in VICTIMS if victim != doer]
    return [
        (step, victim)
        for number, step in enumerate(steps)
        for victim in (VICTIMS if ALL_KILLS else (doer, others[number % len(others)]))
    ]


def wait_for(
    what: str,
    condition: Callable[[], object],
    *,
    seconds: float = PATIENCE,
    every: float = POLL_SECONDS,
) -> None:
    """Return once ``condition`` holds; what it raises for as long as a part is down is no."""
    last: object = None

    def holds() -> object:
        nonlocal last
        try:
            last = condition()
        except (OSError, ValueError, httpx.TransportError, psycopg.Error) as error:
            last = error
            return False
        return last

    try:
        eventually(holds, seconds=seconds, every=every)
    except AssertionError as error:
        raise AssertionError(f"{what} did not come true: {error}: {last!r}") from None


class Scene:
    """One installation, with a bystander's database in it that no crash may touch."""

    def __init__(self, **environment: str) -> None:
        self.installation = Installation(environment)
        home = self.installation.home
        self._folder = home / "crash"
        self._folder.mkdir()
        shutil.copytree(PLUGIN, home / "plugin", ignore=shutil.ignore_patterns("__pycache__"))
        for path in (self._folder, home / "plugin", *(home / "plugin").iterdir()):
            path.chmod(0o755)
            if os.geteuid() == 0:
                shutil.chown(path, SERVICE_USER, SERVICE_USER)
        before = os.environ.get("PYTHONPATH")
        self.installation.environment |= {
            "PYTHONPATH": os.pathsep.join([str(home / "plugin"), *([before] if before else [])]),
            "TENANTRY_WARM_POOL": str(WARM),
        }
        self._passes: subprocess.Popen[str] | None = None
        self._pids: dict[str, int] = {}
        self._log = home / "logs" / "tenantry.log"
        self._log_begins = 0

    def up(self) -> None:
        self.installation.up()
        with self._log.open("a") as log:
            self._passes = subprocess.Popen(
                [sys.executable, str(self.installation.home / "plugin" / "one_pass.py")],
                env=self.installation.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd="/",
                **as_service_user(),
            )
        self.bystander = self.create("bystander")
        self.fill(self.bystander)

    def remove(self) -> None:
        if self._passes is not None:
            self._passes.kill()
            self._passes.communicate()
        self.installation.remove()

    def log(self) -> str:
        """What the platform has logged since the case began."""
        return self._log.read_text()[self._log_begins :] if self._log.exists() else ""

    # ── killing ──────────────────────────────────────────────────────────────

    def pid(self, part: str) -> int | None:
        """The live process of a part, found as an administrator would, by its pid file."""
        home = self.installation.home
        path = home / "run" / f"{part}.pid"
        if part in {"shared-1", "control"}:
            path = home / "clusters" / part / "data" / "postmaster.pid"
        return processes.read_pid(path)

    def remember_pids(self) -> None:
        """Note who lives now, so that a new process can be reported from an old one."""
        self._pids = {victim: self.pid(victim) or 0 for victim in VICTIMS}

    def arm(
        self, part: Part, step: str, victim: Victim | Literal["instance"], file: str = ""
    ) -> None:
        """Have ``victim`` killed when ``part`` has done ``step`` the next time.

        An instance is found by a pid ``file`` in the home.
        """
        self.remember_pids()
        order = self._folder / "order"
        order.write_text(json.dumps({"part": part, "step": step, "victim": victim, "file": file}))
        order.chmod(0o644)
        order.rename(self._folder / "armed")

    def kill(self, victim: Victim) -> None:
        """Kill -9 at once."""
        self.remember_pids()
        os.kill(self._pids[victim], signal.SIGKILL)
        self.has_struck()

    def has_struck(self) -> None:
        """Tell of a blow that was not the plugin's."""
        (self._folder / "struck").touch()

    def forget_strike(self) -> None:
        (self._folder / "struck").unlink(missing_ok=True)

    def struck(self) -> bool:
        return (self._folder / "struck").exists()

    def steps(self, part: Part) -> list[tuple[str, str]]:
        """What a part has reported of since ``forget_steps``: each step done, and its subject."""
        file = self._folder / "steps"
        reported = (
            [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        )
        return [(step, subject) for who, step, subject in reported if who == part]

    def forget_steps(self) -> None:
        (self._folder / "steps").unlink(missing_ok=True)

    # ── coming back ──────────────────────────────────────────────────────────

    def reset(self) -> None:
        """Begin a case with nothing of the one before it: ready, and only the bystander there."""
        self._log_begins = len(self.log()) + self._log_begins
        for name in ("armed", "struck"):
            (self._folder / name).unlink(missing_ok=True)
        self.wait_ready()
        others = [
            each["id"]
            for each in self.listed()
            if each["id"] != self.bystander["id"] and each["status"] == "active"
        ]
        with ThreadPoolExecutor() as many:
            list(many.map(self.delete, others))
        self.wait_right()

    def wait_ready(self) -> None:
        def ready() -> bool:
            answer = self.installation.get("/ready")
            return answer.status_code == 200 and all(map(self.pid, VICTIMS))

        wait_for("being ready", ready)

    def wait_restarted(self, victim: Victim) -> None:
        """Wait until the blow has fallen, and the supervisor has put everything right again."""
        wait_for("the kill", self.struck)
        wait_for(f"a new {victim}", lambda: self.pid(victim) not in {None, self._pids.get(victim)})
        self.wait_ready()
        (self._folder / "struck").unlink(missing_ok=True)

    def reconcile(self) -> None:
        """One reconciliation pass, after what the dead have left running has ended."""
        wait_for("quiet", self._is_quiet)
        self.pass_once()
        self.wait_right()

    def pass_once(self) -> None:
        reported = self._answer("")
        assert reported == "done\n", reported.replace(" | ", "\n")

    def flows(self) -> dict[str, list[str]]:
        """The kinds of operations that the code knows, with their steps."""
        found: dict[str, list[str]] = json.loads(self._answer("flows"))
        return found

    def _answer(self, line: str) -> str:
        assert self._passes is not None
        assert self._passes.stdin is not None
        assert self._passes.stdout is not None
        self._passes.stdin.write(f"{line}\n")
        self._passes.stdin.flush()
        return self._passes.stdout.readline()

    def _is_quiet(self) -> bool:
        for cluster in ("control", "shared-1"):
            with self.installation.superuser(cluster) as server:
                (busy,) = server.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND state <> 'idle' AND pid <> pg_backend_pid()"
                    " AND query NOT LIKE '%% holders'"  # the watch on the lock table, always open
                ).fetchone() or (1,)
            if busy:
                return False
        return True

    # ── what must hold ───────────────────────────────────────────────────────

    def wait_right(self) -> None:
        """Fail with what is wrong, unless it comes right while parts still start."""
        try:
            wait_for("a state without leftovers", lambda: not any(self.complaints()), every=0.1)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.complaints()])) from None

    def complaints(self) -> Iterator[str]:
        """Every difference between what should be and what is, in words; the quickest first."""
        yield from self._complaints_of_control()
        yield from self._of_pooler()
        yield from self._of_operations()
        yield from self._complaints_of_shared()

    def _complaints_of_control(self) -> Iterator[str]:
        empty = {
            "a row that is neither warm nor active":
                "SELECT * FROM databases WHERE status NOT IN ('warm', 'active')",
            "a rotation that is not finished": "SELECT * FROM password_rotations",
            "a role that is not active":
                "SELECT username FROM database_roles WHERE status <> 'active'",
            "a role's rotation that is not finished":
                "SELECT username FROM database_roles WHERE verifier_before IS NOT NULL",
            "an operation that is not finished":
                "SELECT * FROM operations WHERE status IN ('queued', 'running')",
            "a backup that nobody makes": "SELECT * FROM backups WHERE status = 'making'",
            "a job that waits or hangs":
                "SELECT id, task_name, status FROM procrastinate_jobs"
                " WHERE status IN ('todo', 'doing')",
        }  # fmt: skip
        with self.installation.control() as control:
            for what, query in empty.items():
                for row in control.execute(query.encode()):
                    yield f"{what}: {row}"

    def _complaints_of_shared(self) -> Iterator[str]:
        rows = self.installation.rows()
        roles, databases = self.installation.inventory()
        expected = {
            row["database_name"] + end
            for row in rows
            for end in ("", *(["_shadow"] if row["has_shadow"] else []))
        }
        with self.installation.control() as control:
            kept = control.execute("SELECT database_name FROM replaced_databases")
            expected |= {name for (name,) in kept}
        additional = self.installation.role_rows()
        wanted = {row["username"] for row in (*rows, *additional)} | self.installation.api_logins()
        yield from (f"role and row: {n}" for n in roles ^ wanted)
        yield from (f"database and row: {n}" for n in databases ^ expected)
        with self.installation.superuser() as server:
            is_there = {
                name: (login, limit, bool(verifier))
                for name, login, limit, verifier in server.execute(
                    "SELECT rolname, rolcanlogin, rolconnlimit, rolpassword FROM pg_authid"
                )
            }
            open_to_all = server.execute(
                "SELECT datname FROM pg_database, aclexplode(datacl) WHERE grantee = 0"
                r" AND datname LIKE 'tenant\_%'"
            ).fetchall()
        yield from (f"a visitor stays: {n}" for n in is_there if n.startswith("tenantry_visitor_"))
        yield from (f"scratch: {each}" for each in (self.installation.home / "scratch").iterdir())
        yield from (f"open to PUBLIC: {name}" for (name,) in open_to_all)
        for row in rows:
            login, limit, has_password = is_there.get(row["username"], (None, None, None))
            if row["status"] == "warm" and login:
                yield f"a warm role can log in: {row}"
            if row["status"] == "active" and (login, limit, has_password) != (
                True,
                row["max_connections"],
                True,
            ):
                yield f"an owned role is {login, limit, has_password}: {row}"
        for row in additional:
            if is_there.get(row["username"]) != (True, row["max_connections"], True):
                yield f"a further role is {is_there.get(row['username'])}: {row}"
        for name in databases & expected:
            with self.installation.superuser(dbname=name) as inside:
                (owner,) = inside.execute(
                    "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'public'"
                ).fetchone() or (None,)
            tenant = "user_" + name.split("_")[1]
            if owner != tenant:
                yield f"schema public of {name} is {owner}'s"

    def _of_operations(self) -> Iterator[str]:
        home = self.installation.home
        for left in (*(home / "scratch").iterdir(), *(home / "run").glob("side-*")):
            yield f"left by an operation: {left}"
        with self.installation.superuser() as server:
            visitors = server.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '_visitor_'")
            yield from (f"a visitor: {name}" for (name,) in visitors)

    def _of_pooler(self) -> Iterator[str]:
        folder = self.installation.home / "pooler"
        files = {path.name for path in folder.iterdir()}
        if files != {"pgbouncer.ini", "hba.conf", "users.ini", "databases.ini"}:
            yield f"the pooler's folder has {files}"
        named = set(re.findall(r"^(user_\w+) =", (folder / "users.ini").read_text(), re.MULTILINE))
        limited = {
            row["username"]
            for row in self.installation.rows()
            if row["status"] == "active" and row["max_connections"] == SMALL_LIMIT
        }
        limited |= {row["username"] for row in self.installation.role_rows()}
        limited |= self.installation.api_logins()  # as many connections as their databases
        yield from (f"users.ini and rows: {name}" for name in named ^ limited)

    def pooler_limits(self) -> dict[str, int]:
        """The roles that the running pooler has limits of its own for: it says so to its user."""
        ports = self.installation
        reported = subprocess.run(
            [
                "psql",
                "-w",
                "--csv",
                "-h",
                str(ports.home / "run/pooler"),
                "-p",
                str(ports.pool_port),
                "-U",
                "pgbouncer",
                "-d",
                "pgbouncer",
                "-c",
                "SHOW USERS",
            ],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            **as_service_user(),
        )
        users = csv.DictReader(reported.stdout.splitlines())
        return {user["name"]: int(user["max_user_connections"]) for user in users}

    def check_still_works(self) -> None:
        """A new database can be had and used, the worker refills, the bystander saw nothing."""
        self.check_filled(self.bystander)
        self.have_exactly_enough_warm()
        probe = self.create("probe")
        assert self.can_log_in(probe)
        wait_for("a pool that is full again", lambda: self.count_warm() >= WARM)
        self.wait_right()

    # ── endpoints ────────────────────────────────────────────────────────────────

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """One request; None if its connection ends without an answer."""
        with self.installation.client() as client:
            try:
                return client.request(method, path, **options)
            except httpx.TransportError:
                return None

    def create(self, name: str) -> Database:
        return self.installation.create(friendlyName=name, maxConnections=SMALL_LIMIT)

    def delete(self, database_id: str) -> None:
        answer = self.ask("DELETE", f"/api/databases/{database_id}")
        assert answer is not None
        assert answer.status_code in {200, 202}, answer.text

    def listed(self, search: str | None = None) -> list[Database]:
        answer = self.ask("GET", "/api/databases", params={"search": search} if search else None)
        assert answer is not None
        assert answer.status_code == 200, answer.text
        data: list[Database] = answer.json()["data"]
        return data

    def count_warm(self) -> int:
        return sum(row["status"] == "warm" for row in self.installation.rows())

    def have_exactly_enough_warm(self) -> None:
        """As many warm databases as are wanted: the next creation wakes the worker."""
        wait_for("a full pool", lambda: self.count_warm() >= WARM)
        while self.count_warm() > WARM:
            self.delete(self.create("one too many")["id"])

    @contextlib.contextmanager
    def empty_pool(self) -> Iterator[None]:
        """No warm database is to be had: each is locked, as if it were just being given away."""
        with contextlib.suppress(psycopg.OperationalError), self.installation.control() as control:
            control.autocommit = False
            control.execute("SELECT 1 FROM databases WHERE status = 'warm' FOR UPDATE")
            yield

    @contextlib.contextmanager
    def cannot_be_dropped(self, database: Database) -> Iterator[None]:
        """DROP DATABASE waits for as long as the block lasts."""
        with self.installation.superuser() as server:
            server.autocommit = False
            name = sql.Identifier(database["database_name"])
            server.execute(sql.SQL("COMMENT ON DATABASE {} IS 'held'").format(name))
            yield
            server.rollback()

    def audited(self, action: str, database: Database) -> int:
        """How many rows of the audit tell of this."""
        with self.installation.control() as control:
            (count,) = control.execute(
                "SELECT count(*) FROM audit_logs WHERE action = %s AND resource_id = %s",
                (action, database["id"]),
            ).fetchone() or (0,)
        return int(count)

    @staticmethod
    def connect(url: str) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(url, connect_timeout=15, prepare_threshold=None)

    def can_log_in(self, database: Database) -> bool:
        """Whether its password opens all four endpoints; they open and close together."""
        endpoints = ["connection_string", "connection_string_pooled"]
        endpoints += ["shadow_database_url", "shadow_database_url_pooled"]
        open_ = {endpoint: self._opens(database[endpoint]) for endpoint in endpoints}
        assert len(set(open_.values())) == 1, open_
        return all(open_.values())

    def _opens(self, url: str, refused: str = REFUSED) -> bool:
        try:
            with self.connect(url) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            if not re.search(refused, str(error)):
                raise
            return False
        return True

    def fill(self, database: Database) -> None:
        with self.connect(database["connection_string"]) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, %s) AS n", (ROWS,))

    def check_filled(self, database: Database) -> None:
        for endpoint in ("connection_string", "connection_string_pooled"):
            with self.connect(database[endpoint]) as connection:
                found = connection.execute("SELECT count(*), sum(n) FROM kept").fetchone()
            assert found == (ROWS, ROWS * (ROWS + 1) // 2)
