"""What is sent again, and what is not; tests/system has the clients against an installation."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tenantry_client import ApiError, AsyncClient, Client, ConnectionFailed, OperationFailed
from tenantry_client.exchange import (
    POLL_SECONDS,
    Request,
    Response,
    Wait,
    data,
    ended,
    exchange,
    post,
    segment,
)
from tenantry_client.models import Operation

Reply = Response | ConnectionFailed

GET = Request("GET", "/api/databases", repeatable=True)
PATCH = Request("PATCH", "/api/databases/1", body={"max_connections": 5})
UNSENT = ConnectionFailed("refused", sent=False)
LOST = ConnectionFailed("reset", sent=True)
DONE = Response(200, {}, b'{"success": true, "data": {"id": "1"}}')


def refusal(status: int, code: str, after: str | None = None, **more: object) -> Response:
    headers = {"content-type": "application/problem+json"} | (
        {"retry-after": after} if after else {}
    )
    return Response(status, headers, json.dumps({"code": code, "detail": "No.", **more}).encode())


def carried_out(
    request: Request, replies: Iterable[Reply], *, patience: float = 60
) -> tuple[Response, list[float]]:
    """The answer, and how long the client waited before each repetition."""
    clock = 0.0
    waits: list[float] = []
    steps = exchange(request, patience, lambda: clock)
    left = iter(replies)
    reply: Reply | None = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as stop:
            assert next(left, None) is None
            return stop.value, waits
        if isinstance(step, Wait):
            clock += step.seconds
            waits.append(step.seconds)
            reply = None
        else:
            assert step is request
            reply = next(left)


def test_an_answer_is_returned() -> None:
    answer, waits = carried_out(GET, [DONE])
    assert data(answer) == {"id": "1"}
    assert waits == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("request_", [GET, PATCH, post("/api/databases", key=None)])
def test_a_request_that_was_refused_for_now_is_sent_again(request_: Request, status: int) -> None:
    answer, waits = carried_out(request_, [refusal(status, "busy", "7"), DONE])
    assert (answer, waits) == (DONE, [7])


def test_what_a_part_that_does_not_answer_may_have_done_is_not_sent_again() -> None:
    """A statement whose session was ended may have been committed."""
    run = Request("POST", "/api/databases/1/sql", body={"sql": "INSERT INTO t VALUES (1)"})
    with pytest.raises(ApiError):
        carried_out(run, [refusal(503, "unavailable", "7")])
    answer, waits = carried_out(run, [refusal(429, "too_many", "7"), DONE])
    assert (answer, waits) == (DONE, [7])


def test_patience_ends() -> None:
    with pytest.raises(ApiError) as raised:
        carried_out(GET, [refusal(429, "rate_limited", "40")] * 2, patience=60)
    assert (raised.value.code, raised.value.retry_after) == ("rate_limited", 40)


def test_a_lost_connection_is_tried_again_where_that_does_no_harm() -> None:
    running = refusal(409, "request_in_progress")
    for request in (GET, post("/api/databases", key="mine")):
        answer, waits = carried_out(request, [LOST, UNSENT, running, DONE])
        assert (answer, waits) == (DONE, [POLL_SECONDS] * 3)
    for request in (PATCH, Request("DELETE", "/api/databases/1"), Request("POST", "/api/sql")):
        with pytest.raises(ConnectionFailed) as raised:
            carried_out(request, [LOST])
        assert raised.value is LOST


def test_a_lost_request_stays_unknown_if_nothing_answers_any_more() -> None:
    with pytest.raises(ConnectionFailed) as raised:
        carried_out(post("/api/databases", key=None), [LOST, *[UNSENT] * 10], patience=4)
    assert raised.value is LOST


def test_a_wrong_address_is_an_error_at_once() -> None:
    with pytest.raises(ConnectionFailed) as raised:
        carried_out(GET, [UNSENT])
    assert not raised.value.sent


def test_a_refusal_has_code_hint_and_fields() -> None:
    wrong = [{"field": "name", "message": "is too long", "code": "invalid"}]
    answer = refusal(422, "invalid_input", hint="Shorten it.", errors=wrong, request_id="r")
    with pytest.raises(ApiError, match=r"^No\. Shorten it\.$") as raised:
        carried_out(GET, [answer])
    error = raised.value
    assert (error.status, error.code, error.errors) == (422, "invalid_input", wrong)
    assert error.request_id == "r"


def test_an_answer_of_another_program_is_one() -> None:
    page = Response(502, {"content-type": "text/html"}, b"<html>")
    with pytest.raises(ApiError, match="not one of Tenantry's") as raised:
        carried_out(GET, [page])
    assert raised.value.code == "not_tenantry"
    with pytest.raises(ApiError, match="not one of Tenantry's"):
        data(Response(200, {}, b"<html>"))


def test_each_post_has_a_key_of_its_own() -> None:
    first, second = (post("/api/databases", key=None).headers["idempotency-key"] for _ in range(2))
    assert first != second
    assert post("/x", key="mine").headers["idempotency-key"] == "mine"


def test_what_is_sent() -> None:
    query = {"search": "a b", "muted": True, "ids": ["1", "2"], "cursor": None}
    request = Request("GET", "/api/x", query=query)
    assert request.target == "/api/x?search=a+b&muted=true&ids=1&ids=2"
    assert PATCH.headers == {"content-type": "application/json"}
    assert PATCH.content == b'{"max_connections": 5}'
    file = post("/api/x", key="k", body=b"\x00", media_type="application/x-tar")
    assert (file.content, file.headers["content-type"]) == (b"\x00", "application/x-tar")
    assert segment("a/b?c") == "a%2Fb%3Fc"


@pytest.mark.parametrize("identifier", ["", ".", ".."])
def test_what_is_no_identifier_is_refused(identifier: str) -> None:
    with pytest.raises(ValueError, match="no identifier"):
        segment(identifier)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("failed", {"detail": "The disk is full.", "hint": "Make room."}, "The disk is full. Make"),
        ("cancelled", None, "was cancelled at step copy"),
    ],
)
def test_an_operation_that_did_not_succeed_is_an_error(status: str, error: Any, said: str) -> None:
    operation: Any = {"kind": "branch.create", "status": status, "step": "copy", "error": error}
    with pytest.raises(OperationFailed, match=said):
        ended(operation)


@pytest.mark.parametrize(("status", "done"), [("running", False), ("succeeded", True)])
def test_an_operation_is_waited_for(status: str, done: bool) -> None:
    operation: Any = {"status": status}
    found: Operation = operation
    assert ended(found) is done


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_client_needs_url_and_key(
    client: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_URL", "http://127.0.0.1:3000")
    monkeypatch.delenv("TENANTRY_API_KEY", raising=False)
    with pytest.raises(ValueError, match="TENANTRY_API_KEY"):
        client()


def test_nothing_that_answers() -> None:
    with Client("http://127.0.0.1:9", "k") as client, pytest.raises(ConnectionFailed) as raised:
        client.databases.show("x")
    assert not raised.value.sent

    async def ask() -> None:
        async with AsyncClient("http://127.0.0.1:9", "k") as other:
            await other.databases.show("x")

    with pytest.raises(ConnectionFailed):
        asyncio.run(ask())
