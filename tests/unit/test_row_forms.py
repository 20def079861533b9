"""What a row's form in the console sends, and what of it is a change. Pure."""

from typing import Any

import pytest

from tenantry.base.errors import Conflict
from tenantry.pg.tables import Column, Shape
from tenantry.services.table_rows.service import Table
from tenantry.web import row_changes

TABLE = Table("a", "t", Shape({"id": Column("integer"), "v": Column("text")}, ("id",)))


def sent(before: dict[str, str | None], *values: str, **more: str) -> dict[str, str]:
    """Return a form as a browser sends it, but for the ends of lines."""
    fields = row_changes._fields(TABLE, before, is_new=not before)
    numbered = {f"value:{number}": each for number, each in enumerate(values)}
    return {"columns": row_changes._named(TABLE, fields), **numbered, **more}


def changed(before: dict[str, str | None], form: dict[str, str], of: Table = TABLE) -> Any:
    return row_changes._values(of, before, form, is_new=not before)


def test_only_what_was_typed_is_changed() -> None:
    before: dict[str, str | None] = {"id": "1", "v": "a"}
    assert changed(before, sent(before, "1", "b")) == {"v": "b"}
    assert changed(before, sent(before, "1", "a")) == {}
    assert changed(before, sent(before, "1", "a", **{"how:1": "null"})) == {"v": None}
    # What a form does not send is neither an empty text nor a change.
    assert changed(before, sent(before, "2")) == {"id": "2"}
    assert changed({}, sent({}, "2")) == {"id": "2"}


FLAGS = Table("a", "t", Shape({"id": Column("integer"), "on": Column("boolean")}, ("id",)))


@pytest.mark.parametrize(
    ("before", "how", "expected"),
    [
        ("true", "false", {"on": "false"}),
        ("true", "true", {}),
        ("true", "null", {"on": None}),
        (None, "null", {}),
        (None, "true", {"on": "true"}),
        ("true", "ja", {}),
        ("true", "default", {}),
    ],
)
def test_a_boolean_is_chosen(before: str | None, how: str, expected: dict[str, str | None]) -> None:
    row: dict[str, str | None] = {"id": "1", "on": before}
    columns = row_changes._named(FLAGS, ["id", "on"])
    form = {"columns": columns, "value:0": "1", "how:1": how}
    assert changed(row, form, FLAGS) == expected
    is_default = how in {"default", "ja"}
    new = {"null": None}.get(how, how)
    assert changed({}, form, FLAGS) == {"id": "1"} | ({} if is_default else {"on": new})


@pytest.mark.parametrize(
    "columns",
    [
        {"id": Column("integer")},
        {"v": Column("text"), "id": Column("integer")},
        {"id": Column("integer"), "v": Column("integer")},
        {"id": Column("integer"), "w": Column("text")},
        {"id": Column("integer"), "v": Column("text"), "w": Column("text")},
    ],
)
def test_a_form_of_other_columns_changes_nothing(columns: dict[str, Column]) -> None:
    row: dict[str, str | None] = {"id": "1", "v": "a"}
    now = {name: row.get(name) for name in columns}
    with pytest.raises(Conflict, match="columns"):
        changed(now, sent(row, "1", "b"), Table("a", "t", Shape(columns, ("id",))))
    with pytest.raises(Conflict):
        changed(row, {"value:0": "2"})


def test_no_carriage_return_is_lost() -> None:
    before: dict[str, str | None] = {"id": "1", "v": "a\r\nb"}
    assert changed(before, sent(before, "1", "a\r\nb")) == {}
    assert changed(before, sent(before, "1", "a\r\nc\r\n")) == {"v": "a\r\nc\r\n"}
    for mixed in ("a\rb", "a\r\nb\n", "a\r\r\nb"):
        assert row_changes._fields(TABLE, {"id": "1", "v": mixed}, is_new=False) == ["id"]
    plain: dict[str, str | None] = {"id": "1", "v": "a\nb"}
    assert changed(plain, sent(plain, "1", "a\r\nc")) == {"v": "a\nc"}
