"""The forms of providers' requests: what they ask, and whether an answer can be reused. Pure.

Sources: the OpenAPI documents of OpenAI (chat completions, responses, embeddings) and of Anthropic
(messages). What is not known here is part of the scope: it can only make a request differ.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tenantry.services.caching.model import MOST_TOKENS, Question, digest

Body = Mapping[str, Any]
Provider = Literal["openai", "anthropic"]

_ROLES = ("system", "developer", "user", "assistant")
_TEXTS = ("text", "input_text", "output_text")
# Members with which an answer depends on more than the request, or is more than a text.
_NOT_ALONE = (
    "tools",
    "functions",
    "web_search_options",
    "audio",
    "mcp_servers",
    "container",
    "previous_response_id",
    "conversation",
    "background",
    "prompt",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks: ``prompt`` is its last turn, ``rest`` all of the body but that."""

    prompt: str
    rest: Body


@dataclass(frozen=True, slots=True)
class Finish:
    """How a whole answer ended: the tokens that the provider counted, and whether it is complete.

    One that reached its limit, was filtered or calls a tool is not. ``output_tokens`` of the tokens
    are the answer's own.
    """

    tokens: int
    complete: bool
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """One path of a provider.

    ``turns`` is the member of the body with the turns. ``finish`` looks at a whole answer, and
    ``stream_finish`` at the events of a stream: that returns None for one that was cut.
    """

    path: str
    provider: Provider
    turns: str
    finish: Callable[[Body], Finish]
    stream_finish: Callable[[Sequence[Body]], Finish | None]

    def ask(self, body: Body, *, most_temperature: float) -> Asked | str:
        """Return what is asked; or why the cache is not asked: a word for the header x-cache."""
        if reason := _reason(body, most_temperature):
            return reason
        turns = body.get(self.turns)
        if isinstance(turns, str):
            return Asked(turns, {**body, self.turns: None})
        if not isinstance(turns, list) or not turns:
            return "form"
        if not all(map(_is_text_only, turns)) or not _is_text(body.get("system")):
            return "content"
        last = turns[-1]
        if last["role"] != "user":
            return "form"
        rest = {**body, self.turns: [*turns[:-1], {**last, "content": None}]}
        return Asked(_text(last["content"]), rest)

    def finished(self, raw: bytes, *, stream: bool) -> Finish | None:
        """Return how an answer ended; None if it did not, or has another form than documented."""
        try:
            if stream:
                return self.stream_finish(list(events(raw.decode())))
            body = json.loads(raw)
            return self.finish(body) if isinstance(body, dict) else None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None


def question(form: Form, asked: Asked, context: Sequence[object]) -> Question:
    """Return the question of a request; ``context`` is what else its answer depends on."""
    return Question(asked.prompt, digest("proxy", form.path, asked.rest, list(context)))


def is_stream(body: Body) -> bool:
    return body.get("stream") is True


def events(text: str) -> Iterator[Body]:
    """Yield the objects that a stream of server-sent events has as data.

    "[DONE]", with which OpenAI ends streams, is ``{"done": True}``. Raises ValueError for a stream
    that was cut: its last event has no end.
    """
    text = text.replace("\r\n", "\n")
    if not text.endswith("\n\n"):
        raise ValueError("the last event has no end")
    for block in text.split("\n\n"):
        data = [line[5:].removeprefix(" ") for line in block.split("\n") if line[:5] == "data:"]
        if data == ["[DONE]"]:
            yield {"done": True}
        elif data:
            found = json.loads("\n".join(data))
            if not isinstance(found, dict):
                raise ValueError("an event's data is not an object")
            yield found


def _reason(body: Body, most_temperature: float) -> str | None:
    """Return the member for which an answer is given once only; None if there is none."""
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature > most_temperature:
        return "temperature"
    if (body.get("n") or 1) != 1:
        return "n"
    return next((name for name in _NOT_ALONE if body.get(name)), None)


def _is_text_only(turn: object) -> bool:
    return (
        isinstance(turn, dict)
        and turn.get("role") in _ROLES
        and not turn.get("tool_calls")
        and not turn.get("function_call")
        and not turn.get("audio")
        and _is_text(turn.get("content"))
    )


def _is_text(content: object) -> bool:
    if content is None or isinstance(content, str):
        return True
    return isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)
        for part in content
    )


def _text(content: str | Sequence[Body] | None) -> str:
    """Return the text of a turn. Its parts are separated as nobody separates lines."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\x1e\n".join(part["text"] for part in content)


# ── how answers end ──────────────────────────────────────────────────────────


def tokens(usage: object, *names: str) -> int:
    """Return the sum of counts in a provider's usage, of which each may be missing.

    A provider may be anybody's, and its counts any numbers: all sites' are added in 64 bits.
    """
    counts = [usage.get(name) for name in names] if isinstance(usage, dict) else []
    return sum(min(each, MOST_TOKENS) for each in counts if type(each) is int and each > 0)


def _finish(usage: object, complete: bool, *names: str, output: str) -> Finish:
    counted = tokens(usage, *names)
    return Finish(counted, complete, min(counted, tokens(usage, output)))


def _chat(body: Body) -> Finish:
    choices = body["choices"]
    complete = bool(choices) and all(
        choice["finish_reason"] == "stop" and not choice["message"].get("tool_calls")
        for choice in choices
    )
    return _finish(body.get("usage"), complete, "total_tokens", output="completion_tokens")


def _chat_stream(found: Sequence[Body]) -> Finish | None:
    if not found or found[-1] != {"done": True} or any("error" in each for each in found):
        return None
    choices = [choice for each in found for choice in each.get("choices", ())]
    reasons = [reason for choice in choices if (reason := choice.get("finish_reason"))]
    usage = [each["usage"] for each in found if each.get("usage")]
    counted, complete = usage[-1] if usage else None, reasons == ["stop"]
    return _finish(counted, complete, "total_tokens", output="completion_tokens")


def _responses(body: Body) -> Finish:
    only_text = all(each["type"] in {"message", "reasoning"} for each in body["output"])
    complete = body["status"] == "completed" and not body.get("error") and only_text
    return _finish(body.get("usage"), complete, "total_tokens", output="output_tokens")


def _responses_stream(found: Sequence[Body]) -> Finish | None:
    last = found[-1] if found else {}
    ended = last.get("type") in {"response.completed", "response.incomplete"}
    return _responses(last["response"]) if ended else None


def _messages(body: Body) -> Finish:
    only_text = all(each["type"] in {"text", "thinking"} for each in body["content"])
    complete = body["stop_reason"] in {"end_turn", "stop_sequence"} and only_text
    usage = body.get("usage")
    return _finish(usage, complete, "input_tokens", "output_tokens", output="output_tokens")


def _messages_stream(found: Sequence[Body]) -> Finish | None:
    if not found or found[-1]["type"] != "message_stop":
        return None
    (began,) = (each["message"] for each in found if each["type"] == "message_start")
    *_, ended = (each for each in found if each["type"] == "message_delta")
    whole = {
        "stop_reason": ended["delta"].get("stop_reason"),
        "content": [each["content_block"] for each in found if "content_block" in each],
        "usage": {**(began.get("usage") or {}), **(ended.get("usage") or {})},
    }
    return _messages(whole)


CHAT = Form("/v1/chat/completions", "openai", "messages", _chat, _chat_stream)
RESPONSES = Form("/v1/responses", "openai", "input", _responses, _responses_stream)
MESSAGES = Form("/v1/messages", "anthropic", "messages", _messages, _messages_stream)
