"""What is unknown in a look: neither reported as gone, nor in the way of what is known."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alert_rows import watched_row
from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.base.setting_groups import Alert
from tenantry.control import alert_channels, alerts, query_history, watched
from tenantry.control.alerts import AlertRow
from tenantry.control.watched import WatchedRow
from tenantry.pg import database_activity
from tenantry.services.alerts import evaluation, parts, plan, watching
from tenantry.services.alerts.evaluation import Evaluation
from tenantry.services.alerts.model import Condition, Found
from tenantry.services.alerts.watching import DatabaseWatch

UP, DOWN, HUNG = (uuid.UUID(int=number) for number in (1, 2, 3))


class Clusters:
    """Three clusters: one answers, one is down, one does not answer."""

    async def with_databases(self) -> list[Any]:
        return [SimpleNamespace(id=each) for each in (HUNG, DOWN, UP)]

    @asynccontextmanager
    async def connection(self, cluster_id: uuid.UUID) -> AsyncIterator[None]:
        if cluster_id == DOWN:
            raise Unavailable("It is down.")
        if cluster_id == HUNG:
            await asyncio.Event().wait()
        yield None


@asynccontextmanager
async def transaction(_: object) -> AsyncIterator[None]:
    yield None


FULL = {cluster: watched_row(paused_for="WAL") for cluster in (UP, DOWN, HUNG)}


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> DatabaseWatch:
    """A watch of the three clusters, each with a database that is paused."""

    async def on_cluster(_: object, cluster_id: uuid.UUID) -> list[WatchedRow]:
        return [FULL[cluster_id]]

    async def ids_on(_: object, clusters: set[uuid.UUID]) -> set[uuid.UUID]:
        return {FULL[each].id for each in clusters}

    async def nothing(*_: object, **__: object) -> dict[object, object]:
        return {}

    monkeypatch.setattr(watched, "on_cluster", on_cluster)
    monkeypatch.setattr(watched, "ids_on", ids_on)
    monkeypatch.setattr(alert_channels, "every_threshold", nothing)
    monkeypatch.setattr(database_activity, "of_cluster", nothing)
    monkeypatch.setattr(database_activity, "blocked", nothing)
    monkeypatch.setattr(query_history, "paces", nothing)
    monkeypatch.setattr(watching, "_CLUSTER_SECONDS", 0.01)
    store: Any = SimpleNamespace(transaction=transaction)
    clusters: Any = Clusters()
    return DatabaseWatch(store, clusters, Alert())


async def test_a_cluster_that_does_not_answer_hides_no_others_conditions(
    watch: DatabaseWatch,
) -> None:
    unknown: set[uuid.UUID] = set()
    found = await watch.look(unknown)
    assert [each.database_id for each in found] == [FULL[UP].id]
    assert unknown == {FULL[DOWN].id, FULL[HUNG].id}


async def test_clusters_that_the_time_is_not_enough_for_come_first_next_time(
    watch: DatabaseWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_AT_ONCE", 1)
    # HUNG is looked at for 10 ms, and no other one is begun after that.
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.005)
    unknown: set[uuid.UUID] = set()
    assert await watch.look(unknown) == []
    assert unknown == {each.id for each in FULL.values()}
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 60.0)
    asked: list[uuid.UUID] = []

    async def noted(_: object, cluster_id: uuid.UUID) -> list[WatchedRow]:
        asked.append(cluster_id)
        return [FULL[cluster_id]]

    monkeypatch.setattr(watched, "on_cluster", noted)
    unknown.clear()
    found = await watch.look(unknown)
    assert asked == [DOWN, UP, HUNG]
    assert [each.database_id for each in found] == [FULL[UP].id]
    assert unknown == {FULL[DOWN].id, FULL[HUNG].id}


async def test_an_alert_about_what_is_unknown_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)

    def firing(database_id: uuid.UUID) -> AlertRow:
        condition = Condition("database.disk", str(database_id), "full", database_id=database_id)
        opened = plan.opened(condition, long_ago, uuid.uuid4())
        return replace(opened, state="firing", fired_at=long_ago, absent_since=long_ago)

    known, unknown = uuid.uuid4(), uuid.uuid4()
    kept: list[AlertRow] = []

    async def lock_open(_: object) -> list[AlertRow]:
        return [firing(known), firing(unknown)]

    async def keep(_: object, changed: list[AlertRow]) -> None:
        kept.extend(changed)

    async def none(*_: object, **__: object) -> Any:
        return []

    async def none_fired(*_: object) -> dict[object, int]:
        return {}

    monkeypatch.setattr(alerts, "lock_open", lock_open)
    monkeypatch.setattr(alerts, "keep", keep)
    monkeypatch.setattr(alerts, "known", none)
    monkeypatch.setattr(alerts, "drop", none)
    monkeypatch.setattr(alerts, "fired_since", none_fired)
    monkeypatch.setattr(alert_channels, "every", none)
    monkeypatch.setattr(evaluation, "send", none)
    for name in ("export_channels", "evaluated"):
        monkeypatch.setattr(parts, name, lambda *_: None)
    store: Any = SimpleNamespace(transaction=transaction)
    found = Found([], frozenset({"database.disk"}), unknown=frozenset({unknown}))
    await Evaluation(store, Home(Path("/nowhere"))).record(found)
    assert [(row.database_id, row.state) for row in kept] == [(known, "resolved")]
