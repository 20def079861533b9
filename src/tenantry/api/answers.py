"""The answers of the API: one envelope, and the model of each resource in it."""

import dataclasses
import datetime as dt
import uuid
from typing import Generic, Literal, TypeVar

from fastapi.responses import Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from tenantry.control.operations import OperationRow
from tenantry.services.operations.model import pace

Data = TypeVar("Data")


class Answer(BaseModel, Generic[Data]):
    """A successful answer."""

    success: Literal[True] = True
    message: str | None = None
    data: Data


class Listing(BaseModel, Generic[Data]):
    """A page of a list. ``next_cursor`` is absent on the last one."""

    success: Literal[True] = True
    count: int = Field(description="How many are in this answer.")
    next_cursor: str | None = None
    data: list[Data]


class FieldProblem(BaseModel):
    field: str
    message: str
    code: str


class Problem(BaseModel):
    """A failed request (RFC 9457)."""

    type: str = Field(examples=["urn:tenantry:error:name_taken"])
    title: str = Field(examples=["The name is taken"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["There is already a database named my-app in production."])
    instance: str = Field(examples=["/api/databases"])
    success: Literal[False]
    code: str = Field(examples=["name_taken"])
    request_id: str
    hint: str | None = None
    errors: list[FieldProblem] | None = None


class Deleted(BaseModel):
    id: uuid.UUID
    status: Literal["deleted", "deleting"]
    operation_id: uuid.UUID


class OperationDatabase(BaseModel):
    """The database of an operation. Names and environment are null once it is deleted."""

    id: uuid.UUID
    database_name: str = Field(examples=["tenant_b7kx2mw9qz4p"])
    name: str | None = Field(default=None, examples=["my-app"])
    friendly_name: str | None = Field(default=None, examples=["My App Database"])
    environment: str | None = Field(default=None, examples=["production"])


class Operation(BaseModel):
    id: uuid.UUID
    kind: str
    resource_kind: str
    resource_id: uuid.UUID
    resource_name: str | None = Field(
        description="The database's, cluster's or site's, when the operation was asked for.",
        examples=["tenant_b7kx2mw9qz4p"],
    )
    database: OperationDatabase | None
    status: str
    step: str | None
    progress: float
    done_bytes: int | None
    total_bytes: int | None
    bytes_per_second: float | None
    seconds_left: float | None
    cancel_requested: bool
    result: dict[str, object] | None
    error: dict[str, object] | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


def answer(data: BaseModel, *, message: str | None = None, status: int = 200) -> Response:
    """Return a successful answer with one resource."""
    body: dict[str, object] = {"success": True}
    if message is not None:
        body["message"] = message
    body["data"] = data
    return _response(body, status)


def listing(rows: list[BaseModel], *, next_cursor: str | None = None) -> Response:
    """Return a successful answer with a page of resources."""
    body: dict[str, object] = {"success": True, "count": len(rows)}
    if next_cursor is not None:
        body["next_cursor"] = next_cursor
    body["data"] = rows
    return _response(body)


def _response(body: dict[str, object], status: int = 200) -> Response:
    # Written at once, models included: a day's series have 8,000 points.
    return Response(to_json(body, by_alias=True), status, media_type="application/json")


def operation(row: OperationRow) -> Operation:
    known = {name: getattr(row, name, None) for name in Operation.model_fields}
    known["database"] = _database_of(row)
    return Operation.model_validate(known | dataclasses.asdict(pace(row, dt.datetime.now(dt.UTC))))


def _database_of(row: OperationRow) -> OperationDatabase | None:
    labels = row.labels or {"database_name": row.resource_name}
    if row.resource_kind != "database" or labels["database_name"] is None:
        return None
    return OperationDatabase.model_validate({"id": row.resource_id, **labels})


def accepted(row: OperationRow, message: str) -> Response:
    """Return 202 with the operation that carries out the request."""
    return under_way(operation(row), row.id, message)


def under_way(data: BaseModel, operation_id: uuid.UUID, message: str) -> Response:
    """Return 202 with a resource that an operation is changing."""
    response = answer(data, message=message, status=202)
    response.headers["Location"] = f"/api/operations/{operation_id}"
    return response
