"""A cache for LangChain: ``set_llm_cache(TenantryCache(url, key))``. Needs the extra langchain."""

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, Generation

from tenantry_cache.clients import AsyncSemanticCache, SemanticCache


class TenantryCache(BaseCache):
    """Stores what models answer. The model with its parameters is the scope of an answer.

    Of a conversation the last turn is the prompt, and the earlier ones are part of the scope. Both
    clients are for the same site, or the same Redis.
    """

    def __init__(self, cache: SemanticCache, async_cache: AsyncSemanticCache) -> None:
        self._cache = cache
        self._async_cache = async_cache

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        asked, scope = _question(prompt, llm_string)
        found = self._cache.check(asked, scope=scope)
        return None if found is None else _read(found.response)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        asked, scope = _question(prompt, llm_string)
        self._cache.store(asked, _written(return_val), scope=scope)

    def clear(self, **_: Any) -> None:
        self._cache.flush()

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        asked, scope = _question(prompt, llm_string)
        found = await self._async_cache.check(asked, scope=scope)
        return None if found is None else _read(found.response)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        asked, scope = _question(prompt, llm_string)
        await self._async_cache.store(asked, _written(return_val), scope=scope)

    async def aclear(self, **_: Any) -> None:
        await self._async_cache.flush()


def _question(prompt: str, llm_string: str) -> tuple[str, dict[str, Any]]:
    """Return the prompt and the scope of what LangChain asks.

    Chat models are asked with messages in JSON. Most of that is the same for all questions, and so
    they would be found to be similar: only the text of the last message may be compared, and of
    other messages, such as images, nothing.
    """
    scope: dict[str, Any] = {"langchain": llm_string}
    try:
        messages = json.loads(prompt)
        text, kind = messages[-1]["kwargs"]["content"], messages[-1]["kwargs"]["type"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return prompt, scope
    if kind == "human" and isinstance(text, str) and text:
        messages[-1]["kwargs"]["content"] = None
        return text, scope | {"messages": messages}
    return "messages", scope | {"messages": prompt}


def _written(generations: Sequence[Generation]) -> str:
    return json.dumps(
        [
            {
                "text": each.text,
                "info": each.generation_info,
                "message": message_to_dict(each.message)
                if isinstance(each, ChatGeneration)
                else None,
            }
            for each in generations
        ]
    )


def _read(text: str) -> list[Generation]:
    """Return generations. LangChain's own ``loads`` is not used: it creates any of its objects."""
    return [_one(each) for each in json.loads(text)]


def _one(each: dict[str, Any]) -> Generation:
    if each["message"] is None:
        return Generation(text=each["text"], generation_info=each["info"])
    (message,) = messages_from_dict([each["message"]])
    return ChatGeneration(message=message, generation_info=each["info"])
