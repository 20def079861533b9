"""Reconciliation: what is done about any difference leaves none, and drops nobody's data."""

import dataclasses
import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import NOW, database_row, plan_row
from tenantry.base.errors import Forbidden
from tenantry.control import plans
from tenantry.control.databases import DatabaseRow, QuotaState, Status
from tenantry.control.plans import PlanRow
from tenantry.pg import names
from tenantry.pg.catalog import MANAGED, DatabaseState, RoleState
from tenantry.services.databases import plan


@pytest.mark.parametrize(
    ("friendly", "changes", "expected"),
    [
        ("shop", {"name": "store"}, "store"),  # it only repeated the name
        ("The shop", {"name": "store"}, None),
        ("shop", {"name": "store", "friendly_name": "shop"}, "shop"),
        ("shop", {"environment": "staging"}, None),
        (None, {"name": "store"}, None),
    ],
)
def test_a_friendly_name_that_repeats_the_name_follows_it(
    friendly: str | None, changes: dict[str, object], expected: str | None
) -> None:
    found = plan.labelled(database_row(name="shop", friendly_name=friendly), changes)
    assert found == changes | ({} if expected is None else {"friendly_name": expected})


@dataclass
class Model:
    """The rows, and what there is; ``apply`` does what the service's actions do."""

    rows: dict[uuid.UUID, DatabaseRow]
    roles: dict[str, RoleState]
    databases: dict[str, DatabaseState]

    def differences(self) -> list[plan.Action]:
        return plan.differences(self.rows.values(), self.roles, self.databases)

    def apply(self, action: plan.Action) -> None:
        match action:
            case plan.DropOrphanRole(username):
                del self.roles[username]
            case plan.Drop(database_id):
                row = self.rows.pop(database_id)
                self.roles.pop(row.username, None)
                self.databases.pop(row.database_name, None)
                self.databases.pop(row.shadow_name, None)
            case plan.DropShadow(database_id):
                del self.databases[self.rows[database_id].shadow_name]
            case plan.Prepare(database_id):
                self._make(self.rows[database_id])
                self._configure(self.rows[database_id])
                self.rows[database_id] = dataclasses.replace(self.rows[database_id], status="warm")
            case plan.Close(database_id):
                username = self.rows[database_id].username
                self.roles[username] = RoleState(username, can_login=False, max_connections=0)
            case plan.Miss(database_id):
                self._note(database_id, NOW)
            case plan.FindAgain(database_id):
                self._note(database_id, None)
            case plan.Restore(database_id):
                self._make(self.rows[database_id])
                self._limit(self.rows[database_id])
            case plan.Limit(database_id):
                self._limit(self.rows[database_id])

    def _make(self, row: DatabaseRow) -> None:
        self.roles.setdefault(row.username, RoleState(row.username, False, 0))
        for name in row.database_names:
            if row.status == "active" and name == row.database_name:
                continue
            self.databases.setdefault(name, NEW)

    def _note(self, database_id: uuid.UUID, missing_since: dt.datetime | None) -> None:
        row = self.rows[database_id]
        self.rows[database_id] = dataclasses.replace(row, missing_since=missing_since)

    def _configure(self, row: DatabaseRow) -> None:
        for name in row.database_names:
            self.databases[name] = plan.wanted_state(row)

    def _limit(self, row: DatabaseRow) -> None:
        self._configure(row)
        if row.status != "active":
            return
        role = self.roles[row.username]
        self.roles[row.username] = dataclasses.replace(role, max_connections=row.max_connections)


suffixes = [letter * 12 for letter in "bcdf"]
quota_states: list[QuotaState] = ["ok", "warning", "read_only", "stopped"]
NEW = DatabaseState({}, -1)
states = st.builds(
    DatabaseState,
    st.dictionaries(st.sampled_from(MANAGED), st.sampled_from(["0", "1", "on"])),
    st.sampled_from([-1, 0, 3]),
)
statuses: list[Status] = ["creating", "warm", "branching", "active", "deleting"]


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Any rows, any roles and any databases of a few names."""
    rows = {}
    for suffix in draw(st.sets(st.sampled_from(suffixes))):
        row = database_row(
            suffix,
            status=draw(st.sampled_from(statuses)),
            has_shadow=draw(st.booleans()),
            max_connections=draw(st.integers(1, 3)),
            statement_timeout_ms=draw(st.integers(0, 1)),
            quota_state=draw(st.sampled_from(quota_states)),
            missing_since=draw(st.sampled_from([None, NOW])),
        )
        rows[row.id] = row
    roles = {
        f"user_{suffix}": RoleState(f"user_{suffix}", draw(st.booleans()), draw(st.integers(0, 3)))
        for suffix in draw(st.sets(st.sampled_from(suffixes)))
    }
    names = [f"tenant_{suffix}{end}" for suffix in suffixes for end in ("", "_shadow")]
    there = draw(st.dictionaries(st.sampled_from([*names, "somebody_elses"]), states))
    return Model(rows, roles, there)


@given(models())
def test_what_is_done_leaves_nothing_to_do(model: Model) -> None:
    for action in model.differences():
        model.apply(action)
    # A warm role that was open while its database was missing is shut by the next pass.
    for action in model.differences():
        assert isinstance(action, plan.Close)
        model.apply(action)
    assert model.differences() == []


@given(models())
def test_what_is_not_known_is_reported_of_and_never_dropped(model: Model) -> None:
    unknown = plan.unmanaged(model.rows.values(), model.databases)
    known = {f"{row.database_name}{e}" for row in model.rows.values() for e in ("", "_shadow")}
    assert set(unknown) == model.databases.keys() - known
    for action in model.differences():
        model.apply(action)
    assert set(unknown) <= model.databases.keys()


@given(models())
def test_a_role_whose_database_is_there_is_kept(model: Model) -> None:
    """Dropping it would fail, and take the password of whoever comes back with it."""
    dropped = {
        action.username for action in model.differences() if isinstance(action, plan.DropOrphanRole)
    }
    for username in dropped:
        base = f"tenant_{username.removeprefix('user_')}"
        assert not {base, f"{base}_shadow"} & model.databases.keys()
    assert not dropped & {row.username for row in model.rows.values()}


@given(models())
def test_an_owned_database_is_only_ever_completed(model: Model) -> None:
    owned = [row for row in model.rows.values() if row.status == "active"]
    there = {name for row in owned for name in row.database_names} & model.databases.keys()
    opened = {row.username for row in owned if model.roles.get(row.username)}
    before = dict(model.roles)
    for action in model.differences():
        model.apply(action)
    assert there <= model.databases.keys()
    for row in owned:
        # One that is gone is reported of, and no empty one is put in its place.
        is_there = row.database_name in there
        assert (row.database_name in model.databases) == is_there
        assert (model.rows[row.id].missing_since is None) == is_there
        if not is_there:
            continue
        assert {*row.database_names} <= model.databases.keys()
        assert all(model.databases[n] == plan.wanted_state(row) for n in row.database_names)
        assert model.roles[row.username].max_connections == row.max_connections
    for username in opened:
        assert model.roles[username].can_login == before[username].can_login


@given(models())
def test_nobody_gets_a_database_that_somebody_can_log_in_to(model: Model) -> None:
    for _ in range(2):
        for action in model.differences():
            model.apply(action)
    for row in model.rows.values():
        if row.status == "warm":
            assert not model.roles[row.username].can_login
            assert {*row.database_names} <= model.databases.keys()


@given(models())
def test_a_deletion_leaves_nothing(model: Model) -> None:
    gone = [row for row in model.rows.values() if row.status == "deleting"]
    for action in model.differences():
        model.apply(action)
    for row in gone:
        assert row.id not in model.rows
        assert row.username not in model.roles
        assert not {row.database_name, row.shadow_name} & model.databases.keys()


@given(models())
def test_who_overran_the_quota_in_spite_of_all_gets_in_no_more(model: Model) -> None:
    for row in model.rows.values():
        wanted = plan.wanted_state(row)
        read_only = "default_transaction_read_only" in wanted.defaults
        assert read_only == (row.quota_state in {"read_only", "stopped"})
        stopped = row.quota_state == "stopped"
        assert wanted.connection_limit == (0 if stopped else row.max_connections)


def test_what_a_restore_keeps_or_makes_is_no_unmanaged_and_keeps_its_role() -> None:
    row = database_row("aaa")
    there = [row.database_name, row.shadow_name, "tenant_aaa_before_1", "tenant_bbb_restoring_2"]
    assert plan.unmanaged([row], there) == ["tenant_aaa_before_1", "tenant_bbb_restoring_2"]
    assert plan.unmanaged([row], there, ["tenant_aaa_before_1", "tenant_bbb_restoring_2"]) == []
    roles = {"user_bbb": RoleState("user_bbb", can_login=False, max_connections=0)}
    assert plan.differences([], roles, {}) == [plan.DropOrphanRole("user_bbb")]
    # A role's database may be all that is left of it, and may not be there yet.
    state = DatabaseState({}, -1)
    assert plan.differences([], roles, {"tenant_bbb_before_1": state}) == []
    assert plan.differences([], roles, {}, ["tenant_bbb"]) == []


def test_what_is_being_moved_is_not_missing() -> None:
    row = database_row("aaa")
    roles = {row.username: RoleState(row.username, can_login=True, max_connections=50)}
    assert plan.differences([row], roles, {}) == [plan.Miss(row.id)]
    aside = names.of_operation(row.database_name, "moving", uuid.uuid4())
    assert plan.differences([row], roles, {}, [aside]) == []
    # The operation was abandoned.
    assert plan.differences([row], roles, {aside: DatabaseState({}, -1)}) == [plan.Miss(row.id)]


@given(models())
def test_a_branch_that_is_being_made_is_left_to_its_operation(model: Model) -> None:
    making = {row.id for row in model.rows.values() if row.status == "branching"}
    named = {row.username for row in model.rows.values() if row.status == "branching"}
    for action in model.differences():
        assert getattr(action, "database_id", None) not in making
        assert getattr(action, "username", None) not in named


HOBBY = plan_row("hobby", max_connections=10, pool_size=5)
STANDARD = plan_row("standard", max_connections=50, longest_statement_seconds=14_400)
PREMIUM = plan_row(
    "premium", max_connections=100, reserve_pool_size=5, longest_statement_seconds=86_400
)
PLANS = [HOBBY, STANDARD, PREMIUM]


def limited_by(its: PlanRow, **own: Any) -> DatabaseRow:
    """A database with the limits of a plan but for its own."""
    limits = {name: getattr(its, name) for name in (*plans.NAMES, "longest_statement_seconds")}
    return database_row("aaa", plan=its.name, **(limits | own))


def test_a_customer_gives_a_new_database_no_more_than_its_plan_grants() -> None:
    def give(after: DatabaseRow) -> None:
        plan.require_granted(limited_by(PREMIUM), after, STANDARD, PLANS, is_new=True)

    for fine in (limited_by(HOBBY), limited_by(STANDARD), limited_by(HOBBY, max_connections=50)):
        give(fine)
    with pytest.raises(Forbidden, match="max_connections above what the plan standard grants: 50"):
        give(limited_by(STANDARD, max_connections=51))
    # Its own limits hide for now what the plan grants.
    hidden = limited_by(PREMIUM, max_connections=50, reserve_pool_size=0)
    with pytest.raises(Forbidden, match="max_connections by the plan premium above what the plan"):
        give(hidden)


def test_each_limit_of_another_plan_has_to_be_granted() -> None:
    for name in plans.GRANTED:
        larger = plan_row("larger", **{name: getattr(STANDARD, name) + 1})
        before = limited_by(STANDARD)
        after = dataclasses.replace(before, plan="larger")
        with pytest.raises(Forbidden, match=f"{name} "):
            plan.require_granted(before, after, STANDARD, [STANDARD, larger], is_new=False)


def test_a_customer_keeps_what_its_database_was_given() -> None:
    def change(before: DatabaseRow, after: DatabaseRow) -> None:
        plan.require_granted(before, after, STANDARD, PLANS, is_new=False)

    # Up to its own plan, and up to the one that an administrator has given the database.
    change(limited_by(HOBBY), limited_by(STANDARD))
    change(limited_by(PREMIUM, max_connections=5), limited_by(PREMIUM))
    change(limited_by(PREMIUM), limited_by(STANDARD, max_connections=100))
    change(limited_by(STANDARD, max_connections=200), limited_by(STANDARD, max_connections=150))
    for before, after in (
        (limited_by(STANDARD), limited_by(PREMIUM)),
        (limited_by(HOBBY), limited_by(PREMIUM, max_connections=10, reserve_pool_size=0)),
        (limited_by(STANDARD, max_connections=150), limited_by(STANDARD, max_connections=200)),
    ):
        with pytest.raises(Forbidden, match="plan standard grants"):
            change(before, after)


def test_a_copy_has_no_more_than_the_plan_of_the_customer_that_asks_for_it() -> None:
    row = limited_by(STANDARD, max_connections=70, cpu_weight=40, lock_timeout_ms=9)
    own = {"max_connections": 70, "cpu_weight": 40, "lock_timeout_ms": 9}
    assert plan.limits_of_copy(row, own, STANDARD, None) == ("standard", own)
    assert plan.limits_of_copy(row, own, STANDARD, PREMIUM) == ("standard", own)
    lowered = own | {"max_connections": 50}
    assert plan.limits_of_copy(row, own, STANDARD, STANDARD) == ("standard", lowered)
    # Without its own limits it would have those of the larger plan.
    row = limited_by(PREMIUM, pool_size=7)
    assert plan.limits_of_copy(row, {"pool_size": 7}, PREMIUM, STANDARD) == (
        "standard",
        {"pool_size": 7},
    )
    row = limited_by(STANDARD, max_connections=3)
    assert plan.limits_of_copy(row, {"max_connections": 3}, STANDARD, HOBBY) == (
        "hobby",
        {"max_connections": 3},
    )
