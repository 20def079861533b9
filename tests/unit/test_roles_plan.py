"""Reconciliation of additional roles: what is done about any difference leaves none."""

import dataclasses
import uuid
from dataclasses import dataclass
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from database_rows import NOW, database_row
from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.pg.catalog import RoleState
from tenantry.pg.names import owner_role
from tenantry.services.roles import plan

SUFFIXES = ["b" * 12, "c" * 12]
NAMES = ["app", "app_2", "reporting"]


def role(
    of: DatabaseRow, name: str, status: Literal["active", "deleting"], before: str | None
) -> RoleRow:
    return RoleRow(
        id=uuid.uuid4(),
        database_id=of.id,
        name=name,
        username=f"{of.username}_{name}",
        access="read_only",
        max_connections=5,
        status=status,
        verifier_before=before,
        password_changed_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )


@dataclass
class Model:
    """The rows, and what there is; ``apply`` does what the service's actions do."""

    databases: list[DatabaseRow]
    wanted: dict[uuid.UUID, list[RoleRow]]
    roles: dict[str, RoleState]
    connectable: dict[str, set[str]]

    def differences(self) -> list[plan.Action]:
        return plan.differences(
            self.databases, self.wanted, plan.Actual(self.roles, self.connectable)
        )

    def apply(self, action: plan.Action) -> None:
        of = next(each for each in self.databases if each.id == action.database_id)
        rows = self.wanted.setdefault(of.id, [])
        row = next((each for each in rows if each.username == action.username), None)
        match action:
            case plan.DropOrphanRole() | plan.Drop():
                self.roles.pop(action.username, None)
                self.connectable.get(of.database_name, set()).discard(action.username)
                self.wanted[of.id] = [each for each in rows if each is not row]
            case plan.Restore(_, username):
                self.roles.setdefault(username, RoleState(username, False, 0))
                self.connectable.setdefault(of.database_name, set()).add(username)
            case plan.Limit(_, username):
                assert row is not None
                self.roles[username] = RoleState(username, True, row.max_connections)
            case plan.UndoRotation():
                assert row is not None
                rows[rows.index(row)] = dataclasses.replace(row, verifier_before=None)


@st.composite
def models(draw: st.DrawFn) -> Model:
    databases = [
        database_row(suffix, status=draw(st.sampled_from(["active", "deleting", "warm"])))
        for suffix in SUFFIXES
    ]
    wanted = {
        each.id: [
            role(
                each,
                name,
                draw(st.sampled_from(["active", "deleting"])),
                draw(st.sampled_from([None, "SCRAM"])),
            )
            for name in draw(st.sets(st.sampled_from(NAMES)))
        ]
        for each in databases
    }
    roles = {
        name: RoleState(name, draw(st.booleans()), draw(st.sampled_from([5, 9])))
        for each in databases
        for name in draw(
            st.sets(st.sampled_from([each.username, *(f"{each.username}_{n}" for n in NAMES)]))
        )
    }
    connectable = {
        each.database_name: {name for name in roles if draw(st.booleans())} for each in databases
    }
    return Model(databases, wanted, roles, connectable)


@given(models())
def test_nothing_is_left_to_do_and_nothing_else_is_touched(model: Model) -> None:
    untouched = {
        name: state
        for name, state in model.roles.items()
        if owner_role(name) == name
        or not any(
            d.username == owner_role(name) and d.status in {"active", "warm"}
            for d in model.databases
        )
    }
    for action in model.differences():
        model.apply(action)
    assert model.differences() == []
    for each in model.databases:
        if each.status in {"active", "warm"}:
            wanted = {row.username for row in model.wanted[each.id]}
            there = {name for name in model.roles if name.startswith(f"{each.username}_")}
            assert wanted == there
            assert wanted <= model.connectable.get(each.database_name, set())
    assert {name: model.roles[name] for name in untouched} == untouched


def test_a_verifier_is_not_printed() -> None:
    row = role(database_row(), "app", "active", "SCRAM-SHA-256$4096:secret")
    assert "secret" not in repr(row)
