"""Placement, reconciliation and alerts over many servers, with a real control database.

bench/simulate.py runs the same over 1,000 servers and 100,000 databases.
"""

import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from postgres_server import Server
from simulated_fleet import Extent, SimulatedPlatform, answering, generate, servers_of
from tenantry.base.ids import new_suffix
from tenantry.control import audit, clusters, databases, watched
from tenantry.control.store import DATABASE, ControlStore, Tx
from tenantry.services.alerts.databases import RULES
from tenantry.services.alerts.model import Found

FLEET = Extent(servers=20, databases=400, customers=40, alerts=50)


@pytest.fixture
async def fleet(server: Server, store: ControlStore) -> AsyncIterator[SimulatedPlatform]:
    """Twenty servers with twenty databases each, of which every hundredth has lost its limit."""
    generate(server.dsn(DATABASE), FLEET)
    servers = await servers_of(store, limits_lost=lambda number: number % 100 == 1)
    with tempfile.TemporaryDirectory(prefix="tnt-") as home, answering():
        platform = SimulatedPlatform(store, servers, Path(home))
        await platform.platform.fleet.ensure_members(store)
        yield platform


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that are sent in transactions meanwhile."""
    sent: list[str] = []
    with monkeypatch.context() as patches:
        execute = psycopg.AsyncCursor.execute

        async def noted(cursor: Any, query: Any, *rest: Any, **options: Any) -> Any:
            sent.append(str(query))
            return await execute(cursor, query, *rest, **options)

        patches.setattr(psycopg.AsyncCursor, "execute", noted)
        yield sent


async def test_a_pass_plans_what_differs_and_reads_no_table_for_each_server(
    fleet: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    with statements(monkeypatch) as sent:
        assert await fleet.reconcile() == {"database.Limit": 4}
    assert fleet.clusters.used == {each.id for each in await fleet.clusters.with_databases()}
    # What counts all databases of all clusters is not for a pass.
    assert not [each for each in sent if "GROUP BY d.cluster_id" in each]
    assert len([each for each in sent if "ORDER BY c.created_at, c.name" in each]) == 1


async def test_new_databases_go_round_the_servers(fleet: SimulatedPlatform) -> None:
    chosen: Counter[str] = Counter()
    for _ in range(2 * FLEET.servers):
        found = await fleet.clusters.for_new_database()
        async with fleet.store.transaction(audit.PLATFORM) as tx:
            await databases.insert_creating(tx, cluster_id=found.cluster.id, suffix=new_suffix())
        chosen[found.cluster.name] += 1
    async with fleet.store.transaction(audit.PLATFORM) as tx:
        loads = await clusters.loaded(tx)
    assert sum(chosen.values()) == sum(each.placed for each in loads) - FLEET.databases
    most, least = max(each.allotted for each in loads), min(each.allotted for each in loads)
    assert most - least <= 100  # a database of the largest plan


async def test_what_a_customer_gets_is_spread_over_the_servers(fleet: SimulatedPlatform) -> None:
    async with fleet.store.transaction(audit.PLATFORM) as tx:
        owner, owned = await _customer_of_few(tx)
        crowded = max(owned, key=lambda each: owned[each])
        empty = next(each.id for each in await clusters.every(tx) if each.id not in owned)
        for cluster_id in (crowded, empty):  # the older one where the customer is already
            made = await databases.insert_creating(tx, cluster_id=cluster_id, suffix=new_suffix())
            await databases.set_status(tx, made, "warm")
        oldest = await databases.lock_warm(tx)
        rather = await databases.lock_warm(tx, rather_not=[crowded])
    assert oldest is not None
    assert oldest.cluster_id == crowded
    assert rather is not None
    assert rather.cluster_id == empty
    found = await fleet.clusters.for_new_database(customer_id=owner)
    assert found.cluster.id not in owned
    assert "0 databases of the customer" in found.reason


async def _customer_of_few(tx: Tx) -> tuple[uuid.UUID, dict[uuid.UUID, int]]:
    row = await (await tx.execute("SELECT id FROM customers ORDER BY email LIMIT 1")).fetchone()
    assert row is not None
    owner: uuid.UUID = row[0]
    return owner, await clusters.databases_of(tx, owner)


async def test_an_outage_of_many_databases_is_recorded_by_few_statements(
    fleet: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown: set[uuid.UUID] = set()
    full = await fleet.watch.look(unknown)
    assert Counter(each.rule for each in full) == {"database.disk": FLEET.full}
    assert not unknown
    evaluation = fleet.platform.alert_evaluation
    await evaluation.record(Found(full, RULES))
    crowded = fleet.servers[next(iter(fleet.servers))]
    for name, calm in crowded.activities.items():
        taken = calm.connections._replace(direct_active=100)
        crowded.activities[name] = replace(calm, connections=taken)
    found = await fleet.watch.look(unknown)
    assert Counter(each.rule for each in found) == {
        "database.disk": FLEET.full,
        "database.connections": FLEET.databases // FLEET.servers,
    }
    with statements(monkeypatch) as sent:
        assert await evaluation.record(Found(found, RULES)) == []
    assert len(sent) <= 10
    async with fleet.store.transaction(audit.PLATFORM) as tx:
        cursor = await tx.execute(
            "SELECT rule, state, count(*) FROM alerts WHERE open GROUP BY 1, 2"
        )
        assert {row[:2]: row[2] for row in await cursor.fetchall()} == {
            ("database.disk", "pending"): FLEET.full,
            ("database.connections", "pending"): FLEET.databases // FLEET.servers,
        }
    # They are gone, all but those about what is unknown now.
    async with fleet.store.transaction(audit.PLATFORM) as tx:
        unseen = await watched.ids_on(tx, [next(iter(fleet.servers))])
    await evaluation.record(Found([], RULES, unknown=frozenset(unseen)))
    async with fleet.store.transaction(audit.PLATFORM) as tx:
        cursor = await tx.execute("SELECT database_id FROM alerts WHERE open")
        assert {row[0] for row in await cursor.fetchall()} <= unseen
        assert len(unseen) == FLEET.databases // FLEET.servers


async def test_a_new_alert_is_muted_as_the_last_one_about_the_same(
    fleet: SimulatedPlatform,
) -> None:
    unknown: set[uuid.UUID] = set()
    full = await fleet.watch.look(unknown)
    muted, others = full[0], full[1:]
    evaluation = fleet.platform.alert_evaluation
    async with fleet.store.transaction(audit.PLATFORM) as tx:
        await tx.execute(
            "INSERT INTO alerts (id, rule, subject, severity, detail, database_id, customer_id,"
            " state, open, since, muted_until, customer_muted_until)"
            " VALUES (gen_random_uuid(), %s, %s, 'warning', 'full', %s, %s, 'resolved', false,"
            " now(), now() + interval '1 hour', now() + interval '2 hours')",
            (muted.rule, muted.subject, muted.database_id, muted.customer_id),
        )
    await evaluation.record(Found(full, RULES))
    async with fleet.store.transaction(audit.PLATFORM) as tx:
        cursor = await tx.execute(
            "SELECT subject, muted_until > now(), customer_muted_until > now() + interval '90 min'"
            " FROM alerts WHERE open"
        )
        found = {row[0]: row[1:] for row in await cursor.fetchall()}
    assert found == {muted.subject: (True, True)} | {each.subject: (None, None) for each in others}
