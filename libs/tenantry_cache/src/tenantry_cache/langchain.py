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

    Both clients are for the same site.
    """

    def __init__(self, cache: SemanticCache, async_cache: AsyncSemanticCache) -> None:
        self._cache = cache
        self._async_cache = async_cache

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        found = self._cache.check(prompt, scope=_scope(llm_string))
        return None if found is None else _read(found.response)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        self._cache.store(prompt, _written(return_val), scope=_scope(llm_string))

    def clear(self, **_: Any) -> None:
        self._cache.flush()

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        found = await self._async_cache.check(prompt, scope=_scope(llm_string))
        return None if found is None else _read(found.response)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        await self._async_cache.store(prompt, _written(return_val), scope=_scope(llm_string))

    async def aclear(self, **_: Any) -> None:
        await self._async_cache.flush()


def _scope(llm_string: str) -> dict[str, str]:
    return {"langchain": llm_string}


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
