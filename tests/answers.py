"""What every answer of the API has to be."""

from typing import Any

import httpx


def data(answer: httpx.Response, status: int = 200) -> Any:
    """What a success holds."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["success"] is True
    return told["data"]


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """What a failure tells."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert (told["success"], told["status"]) == (False, status)
    for field in ("type", "title", "detail", "code", "instance"):
        assert told[field], f"no {field}"
    assert told["request_id"] == answer.headers["x-request-id"]
    if status == 422:
        assert told["errors"]
        for error in told["errors"]:
            assert error["field"]
            assert error["message"]
            assert error["code"]
    return told
