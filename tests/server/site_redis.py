"""A Redis whose user "site" has the rights that a site's programs have on the platform."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cache_service import PASSWORD, Redis

from database_rows import site_row
from tenantry.host.redis_engines import RedisVersion
from tenantry.services.sites import plan
from tenantry.services.sites.model import digest
from tenantry_cache import SemanticCache

SITE = uuid.UUID("0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5")
PREFIX = f"site:{SITE}:"
STORED, ASKED = "how do I pay an order", "how can I pay an order"
VECTORS = {
    STORED: [1.0, 0.0, 0.0],
    ASKED: [0.99, 0.1, 0.0],  # a cosine of 0.995
    "how do I not pay an order": [0.99, 0.1, 0.0],
    "how do I ship an order": [0.9, 0.5, 0.0],  # 0.87
    "what is an order": [0.0, 1.0, 0.0],
}


def embed(text: str) -> list[float]:
    return VECTORS[text]


@contextmanager
def site_redis() -> Iterator[Redis]:
    with tempfile.TemporaryDirectory(prefix="tnt-alone-") as folder:
        server = Redis(Path(folder))
        server.start()
        ensure_user(server)
        try:
            yield server
        finally:
            server.kill()


def ensure_user(server: Redis) -> None:
    with server.client() as client:
        version = RedisVersion.read("redis", client.info("server")["redis_version"])
        row = site_row(SITE, password_hash=digest(PASSWORD))
        client.execute_command("ACL", "SETUSER", "site", *plan.tenant_rules(row, version))


def url_of(server: Redis, password: str = PASSWORD.reveal()) -> str:
    return f"unix://site:{quote(password)}@{server.socket}"


def with_embedder(url: str, **options: Any) -> SemanticCache:
    return SemanticCache(url, prefix=PREFIX, **{"embed": embed, "model": "m", **options})
