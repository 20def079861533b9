"""Physical backups of clusters: on demand, listed, up to date, and restored to a moment."""

import asyncio
import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from clients import eventually, hurry
from harness import Installation
from inside import inside
from tenantry.host import commands
from tenantry.pg.connections import ADMIN, Address, connect, fetch_value
from tenantry.pg.pgbackrest import PgBackRest
from tenantry.services.repository.service import Repositories

STRAY = {
    "PGBACKREST_REPO1_PATH": "/tmp/tnt-stray",
    "PGBACKREST_ARCHIVE_ASYNC": "y",
    "PGBACKREST_REPO1_RETENTION_FULL": "1",
    "PGBACKREST_EXPIRE_AUTO": "y",
}


@pytest.fixture(scope="module")
def backed() -> Iterator[Installation]:
    """A platform that is backed up, started by somebody who uses pgBackRest for something else."""
    installation = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "1", **STRAY})
    try:
        installation.up()
        hurry(installation)
        installation.back_up("shared-1")  # the first one is full, whatever is asked for
        yield installation
    finally:
        installation.remove()


def cluster_of(platform: Installation, name: str = "shared-1") -> dict[str, Any]:
    with platform.client() as api:
        rows = api.get("/api/clusters").json()["data"]
    return next(row for row in rows if row["name"] == name)


def when_free(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """An answer that is not a conflict with what the platform does by itself."""
    found: list[httpx.Response] = []

    def is_answered() -> bool:
        found.append(ask())
        return found[-1].status_code != 409

    eventually(is_answered)
    return found[-1]


def ended(api: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The operation that an answer shows of, once it has ended."""
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(api.get(answer.headers["Location"]).json()["data"])
        return found["finished_at"] is not None

    eventually(has_ended)
    return found


def test_a_backup_is_made_on_demand_and_listed(backed: Installation) -> None:
    cluster = cluster_of(backed)
    path = f"/api/clusters/{cluster['id']}/backups"
    began = dt.datetime.now(dt.UTC).replace(microsecond=0)
    with backed.client() as api:
        (full,) = api.get(path).json()["data"]["backups"]
        first = when_free(lambda: api.post(path, json={}))
        second = api.post(path, json={"type": "full"})
        assert (second.status_code, second.json()["code"]) == (409, "conflict")
        done = ended(api, first)
        assert done["status"] == "succeeded", done
        (made,) = done["result"]["backups"]
        assert (made["type"], done["result"]["expired"]) == ("incr", [])
        held = api.get(path).json()["data"]
    (repository,) = held["repositories"]
    assert repository["place"] == str(backed.home / "backups" / "repository")
    assert repository["problem"] is None
    assert repository["state"] == "ok"
    # It ended within that second, nobody knows when.
    since = dt.datetime.fromisoformat(full["finished_at"]) + dt.timedelta(seconds=1)
    assert dt.datetime.fromisoformat(repository["restorable_from"]) == since
    labels = {each["label"]: each for each in held["backups"]}
    assert labels[full["label"]] == full
    assert labels[made["label"]]["based_on"] == full["label"]
    assert made["stored_bytes"] < full["stored_bytes"]
    assert dt.datetime.fromisoformat(cluster_of(backed)["last_backup_at"]) >= began
    assert made["label"] in backed.tenantry("cluster", "backups", "shared-1").stdout


def test_the_variables_of_who_started_it_redirect_nothing(backed: Installation) -> None:
    for part in ("shared-1", "worker"):
        variables = Path(f"/proc/{backed.pids()[part]}/environ").read_text().split("\0")
        assert all(f"{name}={value}" in variables for name, value in STRAY.items())
    assert not Path(STRAY["PGBACKREST_REPO1_PATH"]).exists()
    folder = backed.home / "backups" / "repository"
    assert {each.name for each in (folder / "archive").iterdir()} == {"control", "shared-1"}


async def secure(repositories: Repositories) -> object:
    return await repositories.secure("shared-1")


async def restored_to(repositories: Repositories, moment: str) -> object:
    """How many rows a copy has that was restored to a moment, with one database only."""
    cluster = repositories.cluster("shared-1")
    folder = cluster.folder.parents[1] / "scratch" / "test" / "cluster"
    await repositories.pgbackrest.restore(
        "shared-1",
        folder / "data",
        to=dt.datetime.fromisoformat(moment),
        databases=["tenantry_auth"],
    )
    assert repositories.is_read  # so that nothing is removed from under it
    pg_ctl: list[Any] = [cluster.bindir / "pg_ctl", f"--pgdata={folder / 'data'}"]
    options = f"-c unix_socket_directories={folder} -c listen_addresses= -c logging_collector=off"
    await commands.run([*pg_ctl, f"--log={folder}/log", f"--options={options}", "start"])
    try:
        async with connect(Address(folder, cluster.address.port), user=ADMIN) as copy:
            while await fetch_value(copy, "SELECT pg_is_in_recovery()"):  # noqa: ASYNC110 (shows nobody)
                await asyncio.sleep(0.02)
            assert await fetch_value(copy, "SHOW archive_mode") == "off"
            return await fetch_value(copy, "SELECT count(*) FROM public.written")
    finally:
        await commands.run([*pg_ctl, "--mode=immediate", "stop"])
        shutil.rmtree(folder.parent)
        assert not repositories.is_read


def test_what_is_secured_is_what_is_restored(backed: Installation) -> None:
    with backed.superuser() as server:
        server.execute("CREATE TABLE public.written (at timestamptz DEFAULT clock_timestamp())")
        server.execute("INSERT INTO public.written DEFAULT VALUES")
        moment = inside(backed, secure)
        server.execute("INSERT INTO public.written DEFAULT VALUES")
        inside(backed, secure)
    assert inside(backed, restored_to, moment) == 1


def test_the_moments_that_can_be_restored_are_reported(backed: Installation) -> None:
    database = backed.create(name="windowed")

    def window() -> tuple[dt.datetime, dt.datetime]:
        with backed.client() as api:
            reported = api.get(f"/api/databases/{database['id']}/backups").json()
        since, until = (reported[f"restorable_{each}"] for each in ("from", "until"))
        return dt.datetime.fromisoformat(since), dt.datetime.fromisoformat(until)

    moment = dt.datetime.fromisoformat(inside(backed, secure))
    since, until = window()
    assert since == dt.datetime.fromisoformat(database["created_at"])  # the backup is older
    assert moment - dt.timedelta(seconds=1) < until <= dt.datetime.now(dt.UTC)
    said = backed.tenantry("backup", "list", "windowed").stderr
    # More may have been archived before the second look.
    either = [f"{each.astimezone():%Y-%m-%d %H:%M:%S}" for each in (until, window()[1])]
    assert any(each in said for each in either)


async def expire(repositories: Repositories, days: str) -> object:
    """The labels that a window of so many days leaves, and the first segment that is there."""
    await repositories.expire("control", window=dt.timedelta(days=float(days)))
    (held,) = await repositories.contents("control")
    assert held.wal is not None
    return [each.label for each in held.backups], held.wal[0], held.backups[0].wal_start


def test_what_the_window_does_not_need_goes_with_its_log(backed: Installation) -> None:
    for kind in ("incr", "full"):
        backed.back_up("control", "--type", kind)
    all_of_them, first, _ = inside(backed, expire, "1")
    assert len(all_of_them) >= 2
    left, first_left, needed = inside(backed, expire, "0")
    assert left == all_of_them[-1:]
    assert first < first_left == needed


async def missing_while_it_goes_on(repositories: Repositories) -> object:
    """How many segments are missed if another one is archived while those there are listed."""
    (held,) = await repositories.contents("shared-1")
    list_them = PgBackRest.segments

    async def list_and_archive(*asked: Any, **how: Any) -> list[str]:
        found = await list_them(*asked, **how)
        await repositories.secure("shared-1")
        return found

    with patch.object(PgBackRest, "segments", list_and_archive):
        return await repositories.missing(held)


def test_what_is_archived_during_the_look_is_not_missed(backed: Installation) -> None:
    assert inside(backed, missing_while_it_goes_on) == 0


def test_only_administrators_back_up(backed: Installation) -> None:
    cluster = cluster_of(backed)
    key = backed.tenantry("key", "create", "--name", "r", "--scope", "platform:read", "--json")
    with backed.client(json.loads(key.stdout)["key"]) as api:
        path = f"/api/clusters/{cluster['id']}/backups"
        assert api.get(path).status_code == 200
        assert api.post(path, json={}).status_code == 403
    with backed.client() as api:
        unknown = f"/api/clusters/{cluster_of(backed)['id'][:-12]}000000000000/backups"
        assert api.get(unknown).status_code == 404
        assert api.post(unknown, json={}).status_code == 404
        assert api.post(path, json={"type": "half"}).status_code == 422


def test_without_backups_it_says_so(platform: Installation) -> None:
    path = f"/api/clusters/{cluster_of(platform)['id']}/backups"
    with platform.client() as api:
        for answer in (api.get(path), api.post(path, json={})):
            assert answer.status_code == 409
            assert "TENANTRY_BACKUPS=on" in answer.json()["hint"]
