"""What every answer of the API has to be."""

from typing import Any

import httpx


def data(answer: httpx.Response, status: int = 200) -> Any:
    """What a success holds."""
    assert answer.status_code == status, answer.text
    reported = answer.json()
    assert reported["success"] is True
    return reported["data"]


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """What a failure shows."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    reported: dict[str, Any] = answer.json()
    assert (reported["success"], reported["status"]) == (False, status)
    for field in ("type", "title", "detail", "code", "instance"):
        assert reported[field], f"no {field}"
    assert reported["request_id"] == answer.headers["x-request-id"]
    if status == 422:
        assert reported["errors"]
        for error in reported["errors"]:
            assert error["field"]
            assert error["message"]
            assert error["code"]
    return reported
