"""Client of Tenantry's AI cache.

cache = SemanticCache("https://db.example.com:3002", "tnx_…")
found = cache.check("What is a semantic cache?")
if found is None:
    cache.store("What is a semantic cache?", ask_the_model())
"""

from tenantry_cache.clients import AsyncSemanticCache, SemanticCache
from tenantry_cache.requests import CacheError, Found, Message
from tenantry_cache.vectors import AsyncVectorCollection, Item, Match, VectorCollection

__all__ = [
    "AsyncSemanticCache",
    "AsyncVectorCollection",
    "CacheError",
    "Found",
    "Item",
    "Match",
    "Message",
    "SemanticCache",
    "VectorCollection",
]
