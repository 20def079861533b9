"""A platform engineer's first afternoon, at the command line alone, as README and docs tell it.

Each message is compared with one that was read and approved (``newcomers_afternoon.txt``; see
``transcripts`` for how to renew it).
"""

import datetime as dt
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyotp
import pytest

import transcripts
from clients import ask, do, eventually, refusal
from harness import SERVICE_USER, Installation
from terminals import Terminal
from transcripts import Transcript

APPROVED = Path(__file__).with_name("newcomers_afternoon.txt")
NEW_PASSWORD = "seven-wet-ducks-walk-home-slowly"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that stands for another disk. Not pytest's: the platform's user reads none."""
    folder = Path(tempfile.mkdtemp(prefix="elsewhere-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def installation(elsewhere: Path) -> Iterator[Installation]:
    made = Installation(
        {
            "TENANTRY_BACKUPS": "on",
            "TENANTRY_BACKUP_DIR": str(elsewhere / "backups"),
            "XDG_CONFIG_HOME": str(elsewhere / "root"),
        }
    )
    (elsewhere / "backups").mkdir()
    if os.geteuid() == 0:
        shutil.chown(elsewhere / "backups", SERVICE_USER, SERVICE_USER)
    yield made
    made.remove()


class Afternoon:
    """The engineer's shell, and the colleague's."""

    def __init__(self, installation: Installation, elsewhere: Path) -> None:
        self.platform = installation
        self.elsewhere = elsewhere
        plain = {"TZ": "UTC", "COLUMNS": "100", "NO_COLOR": "1"}
        self.env = {**installation.env, **plain}
        self.ann = {
            **{n: v for n, v in os.environ.items() if not n.startswith("TENANTRY_")},
            "TENANTRY_URL": installation.url,
            "TENANTRY_HOME": str(elsewhere / "none"),
            "XDG_CONFIG_HOME": str(elsewhere / "ann"),
            **plain,
        }
        self.transcript = Transcript(
            {
                str(installation.home): "HOME",
                str(elsewhere): "ELSEWHERE",
                str(installation.api_port): "3000",
                str(installation.pg_port): "5432",
                str(installation.pool_port): "6432",
                NEW_PASSWORD: "NEW-PASSWORD",
                installation.env["TENANTRY_ENGINES"]: "ENGINES",  # as ./check sets it
            }
        )

    def do(self, *words: str, code: int = 0, stdin: str = "") -> str:
        return self.transcript.run(*words, env=self.env, code=code, stdin=stdin)

    def wait_restorable(self) -> None:
        """Wait for the first backup, which is made by itself."""

        def backups() -> object:
            reported = self.platform.tenantry("cluster", "backups", "shared-1", "--json").stdout
            return json.loads(reported)["backups"]

        eventually(backups, seconds=120)
        self.platform.wait_restorable("shared-1")

    def as_ann(self, *words: str, code: int = 0, stdin: str = "") -> str:
        return self.transcript.run(*words, env=self.ann, code=code, stdin=stdin, who="ann")


def found(text: str, label: str) -> str:
    """What stands behind a label."""
    return next(line.split()[1] for line in text.splitlines() if line.startswith(label))


@pytest.mark.timeout(900)  # it is one test, where others have many
def test_a_newcomers_afternoon(installation: Installation, elsewhere: Path) -> None:
    afternoon = Afternoon(installation, elsewhere)
    say = afternoon.transcript.say
    try:
        say("Bring it up")
        afternoon.do("up", "--detach")
        shop = client_databases(afternoon)
        a_colleague(afternoon)
        a_key_for_ci(afternoon)
        a_wrecked_table(afternoon, shop)
        branches_and_migrations(afternoon)
        an_allowlist(afternoon, shop)
        a_reporting_login(afternoon, shop)
        a_copy_elsewhere(afternoon)
        an_import(afternoon)
        the_audit(afternoon)
        clean_up(afternoon)
    finally:
        if os.environ.get(transcripts.UPDATE):
            transcripts.compare(afternoon.transcript.text(), APPROVED)
    transcripts.compare(afternoon.transcript.text(), APPROVED)


def client_databases(afternoon: Afternoon) -> str:
    """Three client databases; returns the first one's connection string."""
    afternoon.transcript.say("Three clients' databases")
    create = ("db", "create", "--name")
    owner = ("--owner", "ops@shop.example")
    afternoon.do(*create, "shop", *owner, code=1)
    made = afternoon.do(
        *create, "shop", "--env", "production", *owner, "--new-customer", "--plan", "hobby"
    )
    afternoon.do(*create, "blog", "--env", "staging", "--friendly-name", "Ben's blog")
    afternoon.do(*create, "lab", "--env", "development")
    afternoon.do("db", "list")
    afternoon.do("db", "update", "lab", "--owner", "lab@lab.example", "--new-customer")
    # What goes wrong first.
    afternoon.do(*create, "shop", "--env", "production", *owner, code=1)
    afternoon.do(*create, "other", "--owner", "opps@shop.example", code=1)
    afternoon.do(*create, "other", "--env", "prod", code=2)
    afternoon.do(*create, "other", "--plan", "standart", code=1)
    afternoon.do("db", "show", "shp", code=1)
    return found(made, "direct")


def a_colleague(afternoon: Afternoon) -> None:
    afternoon.transcript.say("A colleague, with a password of her own and an authenticator")
    ann = "ann@shop.example"
    made = afternoon.do("user", "create", ann, "--customer", "ops@shop.example")
    first = found(made, "password")
    afternoon.as_ann("db", "list", code=1)
    afternoon.as_ann("login", ann, stdin="wrong\n", code=1)
    afternoon.as_ann("login", ann, stdin=f"{first}\n")
    afternoon.as_ann("password", stdin=f"{first}\nshort\n", code=1)
    afternoon.as_ann("password", stdin=f"{first}\n{NEW_PASSWORD}\n")
    words = ("totp", "on")
    with Terminal(*words, env=afternoon.ann, size=(60, 120)) as terminal:
        terminal.expect("Your password: ")  # with its last blank, nothing is echoed any more
        terminal.type(NEW_PASSWORD)
        seen = terminal.expect("The code that it shows now: ")
        secret = found(seen[seen.index("secret") :], "secret")
        terminal.type("000000")
        terminal.expect("The code that it shows now: ")
        code = pyotp.TOTP(secret).now()
        terminal.type(code)
        ended, seen = terminal.end()
    afternoon.transcript.note(words, seen.replace(code, "CODE"), code=ended, who="ann")
    assert ended == 0, seen
    afternoon.as_ann("logout")
    recovery = next(line.split()[-1] for line in seen.splitlines() if "recovery code" in line)
    afternoon.as_ann("login", ann, stdin=f"{NEW_PASSWORD}\n{recovery}\n")
    afternoon.as_ann("db", "list")
    afternoon.as_ann("user", "list", code=1)
    afternoon.do("user", "list")


def a_key_for_ci(afternoon: Afternoon) -> None:
    afternoon.transcript.say("A key for CI")
    create = ("key", "create", "--name", "ci", "--expires", "30d", "--scope")
    afternoon.do(*create, "database:read", code=1)
    made = afternoon.do(*create, "databases:read", "--scope", "databases:write")
    key = next(word for word in made.split() if word.startswith("tnt_"))
    ci = {**afternoon.ann, "TENANTRY_API_KEY": key, "XDG_CONFIG_HOME": str(afternoon.elsewhere)}
    afternoon.transcript.run("db", "list", "--env", "staging", env=ci, who="ci")
    afternoon.transcript.run("audit", env=ci, code=1, who="ci")
    afternoon.do("key", "list")


def a_wrecked_table(afternoon: Afternoon, shop: str) -> None:
    afternoon.transcript.say("A wrecked table")
    do(
        shop,
        "CREATE TABLE orders (id int PRIMARY KEY, what text);"
        " INSERT INTO orders SELECT i, 'order ' || i FROM generate_series(1, 40) i",
    )
    afternoon.wait_restorable()
    good = dt.datetime.now(dt.UTC)
    while dt.datetime.now(dt.UTC) < good + dt.timedelta(seconds=1.1):
        time.sleep(0.05)
    moment = good.strftime("%Y-%m-%dT%H:%M:%SZ")
    do(shop, "DELETE FROM orders WHERE id > 3")
    afternoon.do("restore", "shop", "--to", "yesterday", code=2)
    afternoon.do("restore", "shop", "--to", "previous", "--as", "in-place", "--yes", code=1)
    afternoon.do("restore", "shop", "--to", moment, "--name", "shop-as-it-was")
    afternoon.do("restore", "shop", "--to", moment, "--as", "in-place", "--yes")
    assert ask(shop, "SELECT count(*) FROM orders") == 40
    afternoon.do("db", "replaced", "shop")
    afternoon.do("restore", "shop", "--to", "previous", code=1)
    afternoon.do("restore", "shop", "--to", "previous", "--as", "in-place", "--yes")
    assert ask(shop, "SELECT count(*) FROM orders") == 3
    afternoon.do("restore", "shop", "--to", "previous", "--as", "in-place", "--yes")
    assert ask(shop, "SELECT count(*) FROM orders") == 40


def branches_and_migrations(afternoon: Afternoon) -> None:
    afternoon.transcript.say("A branch to try a migration on")
    folder = afternoon.elsewhere / "migrations"
    folder.mkdir()
    (folder / "000001_add_price.up.sql").write_text("ALTER TABLE orders ADD price numeric;\n")
    (folder / "000001_add_price.down.sql").write_text("ALTER TABLE orders DROP price;\n")
    (folder / "000002_index.up.sql").write_text("CREATE INDEX ON orders (what);\n")
    (folder / "000002_index.down.sql").write_text("DROP INDEX orders_what_idx;\n")
    afternoon.do("branch", "create", "shop", "try-it")
    afternoon.do("branch", "list", "shop")
    path = ("--path", str(folder))
    afternoon.do("migrate", "lint", *path, code=1)
    afternoon.do("migrate", "up", *path, "--database", "try-it", "--env", "development")
    afternoon.do("migrate", "status", *path, "--database", "try-it", "--env", "development")
    (folder / "000003_wrong.up.sql").write_text("ALTER TABLE order ADD x int;\n")
    afternoon.do("migrate", "up", *path, "--database", "try-it", "--env", "development", code=1)
    afternoon.do("db", "delete", "try-it", "--env", "development", "--yes")


def an_allowlist(afternoon: Afternoon, shop: str) -> None:
    afternoon.transcript.say("An allowlist")
    words = ("whitelist", "add", "shop", "203.0.113.0/24", "--description", "office")
    with Terminal(*words, env=afternoon.env, size=(40, 120)) as terminal:
        terminal.expect("[y/N]: ")
        terminal.type("n")
        ended, seen = terminal.end()
    afternoon.transcript.note(words, seen, code=ended)
    afternoon.do(*words)
    refusal(shop)
    afternoon.do("whitelist", "add", "shop", "127.0.0.1")
    afternoon.do("whitelist", "add", "shop", "10.1.2.3/8", "--expires", "7d")
    afternoon.do("whitelist", "add", "shop", "office", code=1)
    afternoon.do("whitelist", "list", "shop")
    afternoon.do("whitelist", "remove", "shop", "10.9.9.9", code=1)
    afternoon.do("whitelist", "remove", "shop", "10.1.2.3/8")
    afternoon.do("whitelist", "remove", "shop", "203.0.113.0/24")
    afternoon.do("whitelist", "remove", "shop", "127.0.0.1")
    assert ask(shop) == 1


def a_reporting_login(afternoon: Afternoon, shop: str) -> None:
    afternoon.transcript.say("A login for reports")
    made = afternoon.do("role", "create", "shop", "reporting")
    reports = found(made, "direct")
    assert ask(reports, "SELECT count(*) FROM orders") == 40
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        do(reports, "DELETE FROM orders")
    assert ask(shop, "SELECT count(*) FROM orders") == 40
    afternoon.do("role", "list", "shop")


def a_copy_elsewhere(afternoon: Afternoon) -> None:
    afternoon.transcript.say("A copy elsewhere")
    copies = afternoon.elsewhere / "copies"
    afternoon.do("backup", "schedule", "shop", "--every", "day", "--hour", "3", "--keep-days", "14")
    afternoon.do("backup", "create", "shop", "--description", "before the migration")
    afternoon.do("backup", "list", "shop")
    afternoon.do("backup", "download", "shop", "--into", str(copies), code=1)
    copies.mkdir()
    afternoon.do("backup", "download", "shop", "--into", str(copies))
    afternoon.do("backup", "download", "shop", "--into", str(copies))


def an_import(afternoon: Afternoon) -> None:
    afternoon.transcript.say("An import")
    (dump,) = (afternoon.elsewhere / "copies").iterdir()
    nothing = afternoon.elsewhere / "nothing.sql"
    nothing.write_text("SET client_encoding = 'UTF8';\n")
    back = afternoon.do("db", "create", "--name", "back", "--env", "staging")
    afternoon.do("import", "back", "--file", str(nothing))
    afternoon.do("import", "back", "--file", str(dump), "--preview")
    afternoon.do("import", "back", "--file", str(dump))
    assert ask(found(back, "direct"), "SELECT count(*) FROM orders") == 40
    afternoon.do("import", "back", "--file", str(dump), code=1)


def the_audit(afternoon: Afternoon) -> None:
    afternoon.transcript.say("Who did what")
    afternoon.do("audit", "--resource", "shop", "--limit", "12")
    afternoon.do("audit", "--result", "refused")
    afternoon.do("audit", "--actor", "ann@shop.example")
    afternoon.do("audit", "--result", "rejected", code=2)
    afternoon.do("operation", "list", "--kind", "database.import")


def clean_up(afternoon: Afternoon) -> None:
    afternoon.transcript.say("Clean up")
    afternoon.do("db", "delete", "lab", code=1)
    afternoon.do("db", "delete", "lab", "--yes")
    afternoon.do("down")
    afternoon.do("db", "list", code=3)
    afternoon.do("uninstall", code=1)
    afternoon.do("uninstall", "--yes")
    assert [path.name for path in afternoon.platform.home.iterdir()] == ["backup.key"]
