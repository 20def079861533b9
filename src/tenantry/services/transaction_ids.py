"""Protection of a shared cluster from running out of transaction IDs and multixacts.

PostgreSQL stops writing, for everybody, when the oldest ID in use is 2^31 behind the next one. Any
session can use up hundreds of thousands a second, and one old transaction or temporary table keeps
autovacuum from advancing the oldest, in all databases. No parameter limits either. So the worker
checks every few seconds and ends the tenants' sessions that do so; and status, doctor, ``/ready``
and the metrics report the ages.
"""

import asyncio
import datetime as dt
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import TenantryError, Unavailable
from tenantry.base.events import SessionsEnded, emit
from tenantry.control import audit
from tenantry.control.clusters import ClusterRow
from tenantry.control.store import ControlStore
from tenantry.pg import names, objects, session_ending, transaction_ids
from tenantry.pg.catalog import Session
from tenantry.pg.connections import PLATFORM, Address, connect
from tenantry.pg.transaction_ids import LIMIT, MEMBERS_LIMIT, Consumed, Holder, Kind, State
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.fleet_file import CONTROL
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.observations.model import Measure, gauge

log = structlog.get_logger()

_INSTANCE_SECONDS = 1.0  # for the answer of one
_KINDS: tuple[Kind, ...] = get_args(Kind)
_AGE = gauge(
    "tenantry_transaction_id_age",
    "How far behind the newest transaction ID or multixact the oldest of a cluster is",
    "cluster",
    "kind",
)
_ASSIGNED = gauge(
    "tenantry_transaction_ids_assigned",
    "Transaction IDs or multixacts ever assigned, modulo 2^32",
    "cluster",
    "kind",
)
_HELD_BACK = gauge(
    "tenantry_freezing_held_back",
    "Transaction IDs assigned since the oldest session, prepared transaction or slot began",
    "cluster",
)
_MEMBERS = gauge("tenantry_multixact_members", "Members of multixacts retained, of 2^32", "cluster")
_LOOKS = 40
_DANGER = 1_600_000_000  # vacuum_failsafe_age: vacuum then skips everything but freezing
_HOUR = 3600.0
_MILLION = 1_000_000
_REPORTED_WINDOW = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on tenants' sessions, beyond which they are ended.

    One session may hold back ``held`` IDs. A database whose age is ``old`` may not have temporary
    tables that hold it back. All together may use up IDs, on average over ``window`` seconds, no
    faster than would reach the limit in ``reach`` seconds; otherwise the sessions of the database
    that uses up most are ended, and it is closed to new sessions if it does so again within
    ``again`` seconds.
    """

    held: int = 200 * _MILLION
    old: int = 400 * _MILLION
    window: float = 60.0
    reach: float = 6 * _HOUR
    again: float = 600.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that needs attention. ``danger`` means that writing will stop before long."""

    level: Literal["warning", "danger"]
    detail: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Sessions that were ended: one with a ``pid``, or those of a whole database."""

    why: str
    database: str
    pid: int | None = None


@dataclass(slots=True)
class Pace:
    """The rate at which IDs are used up, on average over ``window`` seconds at least."""

    window: float
    clock: Callable[[], float] = time.monotonic
    _seen: deque[tuple[float, Consumed, int]] = field(default_factory=deque)

    def add(self, consumed: Consumed, members: int) -> None:
        """Record the current counters."""
        now = self.clock()
        self._seen.append((now, consumed, members))
        while len(self._seen) > 2 and now - self._seen[1][0] >= self.window:  # noqa: PLR2004
            self._seen.popleft()

    def reset(self) -> None:
        """Discard earlier counters, after sessions were ended because of them."""
        self._seen.clear()

    def seconds_left(self, state: State, kind: Kind) -> float | None:
        """Return the seconds to the limit at this rate; None if never, or not known yet."""
        if not self._seen or (elapsed := self._seen[-1][0] - self._seen[0][0]) < self.window:
            return None
        (_, before, members_before), (_, now, members) = self._seen[0], self._seen[-1]
        left = []
        if used := now.since(before).of(kind):
            left.append((LIMIT - state.oldest(kind).of(kind)) * elapsed / used)
        if kind == "multixacts" and (grown := members - members_before) > 0:
            left.append((MEMBERS_LIMIT - members) * elapsed / grown)
        return max(0.0, min(left)) if left else None


class Watch:
    """The watch of one local cluster, which ends sessions that use up or hold back IDs.

    It keeps its state from one look to the next.
    """

    def __init__(self, address: Address, data: Path, limits: Limits = LIMITS) -> None:
        self._address = address
        self._data = data
        self._limits = limits
        self._pace = Pace(limits.window)
        # PostgreSQL does not report which multixacts a transaction holds back: they are those
        # assigned since it was first seen.
        self._first_seen: dict[tuple[object, ...], int] = {}
        self._dealt_with: dict[tuple[str, str], float] = {}

    async def look(self) -> list[Ended]:
        """End the tenants' sessions that are beyond the limits, and return which.

        Raises Unavailable if the server does not answer.
        """
        try:
            async with connect(self._address, user=PLATFORM) as server:
                state = await transaction_ids.state(server)
                ended = [
                    *await self._end_holders(server, state),
                    *await self._end_temporary(server, state),
                    *await self._end_consumers(server, state),
                ]
        except psycopg.OperationalError as error:
            raise Unavailable(f"Transaction IDs are not watched: {error}".strip()) from error
        for each in ended:
            emit(SessionsEnded(each.why, each.database))
        return ended

    async def _end_holders(self, server: AsyncConnection[TupleRow], state: State) -> list[Ended]:
        now = state.consumed.multixacts
        keys = {_transaction(each): each for each in state.holders if each.kind == "session"}
        self._first_seen = {key: self._first_seen.get(key, now) for key in keys}
        # A snapshot is as old as the oldest transaction that ran when it was taken. A session whose
        # snapshot is old only because of another transaction that still runs is not the cause.
        running = {each.assigned for each in state.holders if each.assigned is not None}
        beyond = [
            each
            for key, each in keys.items()
            if (names.is_tenants_role(each.name) or names.is_visitor(each.name))
            and (
                (
                    each.age >= self._limits.held
                    and (each.age == each.assigned or each.age not in running)
                )
                or (now - self._first_seen[key]) % 2**32 >= self._limits.held
            )
        ]
        await session_ending.end_these_sessions(
            server,
            [
                Session(each.pid, each.began, each.name, "")
                for each in beyond
                if each.pid is not None and each.began is not None
            ],
        )
        return [Ended("holds back freezing", each.database or "", each.pid) for each in beyond]

    async def _end_temporary(self, server: AsyncConnection[TupleRow], state: State) -> list[Ended]:
        old = [
            each
            for each in state.databases
            if names.is_tenants_database(each.name)
            and max(map(each.of, _KINDS)) >= self._limits.old
            and not self._dealt_with_lately("temporary", each.name)  # vacuum needs its time
        ]
        found = transaction_ids.oldest_temporary_use(self._data, old)
        ended = []
        for name, used_at in found.items():
            if await session_ending.end_sessions_in(server, [name], before=used_at):
                self._dealt_with["temporary", name] = time.monotonic()
                ended.append(Ended("old temporary tables", name))
        return ended

    async def _end_consumers(self, server: AsyncConnection[TupleRow], state: State) -> list[Ended]:
        self._pace.add(state.consumed, transaction_ids.members(self._data))
        ended = []
        for kind in _KINDS:
            left = self._pace.seconds_left(state, kind)
            if left is None or left >= self._limits.reach:
                continue
            busiest = await transaction_ids.busiest(server, looks=_LOOKS)
            database = next(
                (name for name, _ in busiest.most_common() if names.is_tenants_database(name)),
                None,
            )
            if database is None:
                log.warning("transaction_ids.used_up_fast", kind=kind, seconds_left=int(left))
                continue
            if self._dealt_with_lately("consumed", database):
                # Until the next reconciliation pass, which opens it again.
                await objects.close_to_new_sessions(server, [database])
            await session_ending.end_sessions_in(server, [database], before=None)
            self._dealt_with["consumed", database] = time.monotonic()
            ended.append(Ended(f"uses up {kind}", database))
        if ended:
            self._pace.reset()
        return ended

    def _dealt_with_lately(self, why: str, database: str) -> bool:
        at = self._dealt_with.get((why, database))
        return at is not None and time.monotonic() - at < self._limits.again


def _transaction(holder: Holder) -> tuple[int | None, dt.datetime | None, dt.datetime | None]:
    return holder.pid, holder.began, holder.transaction_began


@dataclass(frozen=True, slots=True)
class Report:
    """One cluster's transaction IDs. ``seconds_left`` by kind, where a rate was measured."""

    cluster: str
    state: State
    members: int
    seconds_left: dict[Kind, float]

    @property
    def alerts(self) -> list[Alert]:
        """The alerts about ages, multixact members, holders and the rate."""
        return [*self._ages(), *self._members(), *self._holders(), *self._paces()]

    def _ages(self) -> list[Alert]:
        found: list[Alert] = []
        for kind in _KINDS:
            oldest = self.state.oldest(kind)
            age = oldest.of(kind)
            if age < 2 * self.state.freeze_at[kind]:
                continue
            found.append(
                Alert(
                    "danger" if age >= _DANGER else "warning",
                    f"{oldest.name} on {self.cluster} is {_millions(age)} {kind} old, and at "
                    f"{_millions(LIMIT)} nobody can write any more: see that autovacuum gets "
                    "there, and who holds it back.",
                )
            )
        return found

    def _members(self) -> list[Alert]:
        if self.members < MEMBERS_LIMIT // 2:
            return []
        level: Literal["warning", "danger"] = (
            "danger" if self.members >= MEMBERS_LIMIT // 4 * 3 else "warning"
        )
        part = self.members * 100 // MEMBERS_LIMIT
        return [
            Alert(
                level,
                f"{part} % of the room for members of multixacts on {self.cluster} are taken: "
                "VACUUM (FREEZE) makes room.",
            )
        ]

    def _holders(self) -> list[Alert]:
        return [
            Alert("warning", f"On {self.cluster} {_described(each)}")
            for each in self.state.holders
            if each.age >= self.state.freeze_at["transactions"] // 2
        ]

    def _paces(self) -> list[Alert]:
        return [
            Alert(
                "warning",
                f"At the present pace {self.cluster} runs out of {kind} in "
                f"{left / _HOUR:.1f} hours: see who writes so much (pg_stat_activity.backend_xid),"
                " and whether autovacuum gets along.",
            )
            for kind, left in self.seconds_left.items()
            if left < 2 * LIMITS.reach
        ]


def _millions(count: int) -> str:
    return f"{count // _MILLION:,} million"


def _described(holder: Holder) -> str:
    since = f"has held back freezing for {_millions(holder.age)} transactions"
    match holder.kind:
        case "session":
            return (
                f"session {holder.pid} of {holder.name} in {holder.database} {since}: end it with"
                " pg_terminate_backend."
            )
        case "prepared transaction":
            return (
                f"the prepared transaction {holder.name!r} {since}: commit it or roll it back "
                f"in {holder.database}."
            )
        case "replication slot":
            return (
                f"the replication slot {holder.name} {since}: have its standby catch up, or drop "
                "it with pg_drop_replication_slot."
            )


async def report(
    cluster: str, server: AsyncConnection[TupleRow], data: Path, pace: Pace | None = None
) -> Report:
    """Return the report on a cluster with data folder ``data``."""
    state, members = await transaction_ids.state(server), transaction_ids.members(data)
    seconds_left = {}
    if pace is not None:
        pace.add(state.consumed, members)
        for kind in _KINDS:
            if (left := pace.seconds_left(state, kind)) is not None:
                seconds_left[kind] = left
    return Report(cluster, state, members, seconds_left)


class TransactionIds:
    """Reports on all clusters of a platform; keeps the pace of each between calls."""

    def __init__(self, store: ControlStore, clusters: ClusterPools, fleet: Fleet) -> None:
        self._store = store
        self._clusters = clusters
        self._fleet = fleet
        self._paces: defaultdict[str, Pace] = defaultdict(lambda: Pace(_REPORTED_WINDOW))

    async def reports(self) -> list[Report]:
        """Return a report for each cluster; instances that do not answer are left out.

        Raises Unavailable if a shared cluster does not answer.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            found = [await report(CONTROL, tx, self._fleet.control.data, self._paces[CONTROL])]
        clusters = await self._clusters.with_databases()
        others = await asyncio.gather(*map(self._report, clusters))
        return [*found, *filter(None, others)]

    async def _report(self, cluster: ClusterRow) -> Report | None:
        of_instance = cluster.kind == "dedicated"
        try:
            # One that is down must not make everybody's readiness wait.
            async with (
                asyncio.timeout(_INSTANCE_SECONDS if of_instance else None),
                self._clusters.connection(cluster.id) as server,
            ):
                data = self._fleet.named(cluster.name).data
                return await report(cluster.name, server, data, self._paces[cluster.name])
        except (TenantryError, TimeoutError) as error:
            if not of_instance:
                raise
            log.info("transaction_ids.not_read", cluster=cluster.name, error=str(error))
            return None


async def measures(transaction_ids_: TransactionIds) -> list[Measure]:
    """Return the ages and counters of each cluster. Raises Unavailable."""
    found = []
    for each in await transaction_ids_.reports():
        for kind in _KINDS:
            found += [
                _AGE(each.state.oldest(kind).of(kind), each.cluster, kind),
                _ASSIGNED(each.state.consumed.of(kind), each.cluster, kind),
            ]
        held = max((holder.age for holder in each.state.holders), default=0)
        found += [_HELD_BACK(held, each.cluster), _MEMBERS(each.members, each.cluster)]
    return found
