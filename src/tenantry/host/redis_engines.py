"""The Redis or Valkey server of this machine: found, or installed from apt.

Of several the one with vector sets is taken (Redis 8 and newer), and otherwise the newest. Redis up
to 7.2 and Valkey have the BSD licence (3 clauses), Redis 8 the AGPL, version 3, among others; they
run as programs of their own.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from tenantry.base.errors import MachineError
from tenantry.host import commands, packages
from tenantry.host.packages import Say

Product = Literal["redis", "valkey"]

_PACKAGES: Mapping[Product, str] = {"redis": "redis-server", "valkey": "valkey-server"}
_VECTOR_SETS_FROM = (8,)
REQUIRED = (7, 0)


@dataclass(frozen=True, slots=True)
class RedisVersion:
    """What a server is. ``version`` has three numbers."""

    product: Product
    version: tuple[int, ...]

    @property
    def has_vector_sets(self) -> bool:
        """Whether it has vector sets (VADD, VSIM)."""
        return self.product == "redis" and self.version >= _VECTOR_SETS_FROM

    @property
    def rank(self) -> tuple[bool, tuple[int, ...]]:
        """Of several, the one to prefer has the highest."""
        return self.has_vector_sets, self.version

    @classmethod
    def read(cls, product: Product, text: str) -> Self:
        """Return the first version in a text, such as ``Redis server v=7.0.15``, else 0.0.0."""
        found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
        numbers = tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)
        return cls(product, numbers)

    def __str__(self) -> str:
        return f"{self.product.title()} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class RedisEngine:
    """An installed server."""

    path: Path
    version: RedisVersion


async def find_redis() -> RedisEngine:
    """Return the best installed server. Raises MachineError if there is none, or none new enough.

    Its version is asked for each time: the package may be upgraded while the platform runs.
    """
    found = []
    for product, package in _PACKAGES.items():
        path = shutil.which(package)
        if path is not None:
            said = await commands.run([path, "--version"], deadline=10)
            found.append(RedisEngine(Path(path), RedisVersion.read(product, said.stdout)))
    usable = [each for each in found if each.version.version >= REQUIRED]
    if not usable:
        raise MachineError(
            "Neither Redis nor Valkey, 7.0 or newer, is installed on this machine.",
            hint=f"As root: {packages.command_for([_PACKAGES['redis']])}; or ./tenantry up, "
            "started by root.",
        )
    return max(usable, key=lambda each: each.version.rank)


async def ensure_redis(say: Say) -> None:
    """Install the best server that apt offers, unless there is one.

    The platform runs without it, except sites of the AI cache: failures are reported.
    """
    try:
        await find_redis()
    except MachineError as error:
        if os.geteuid() != 0:
            say(f"Going on without sites of the AI cache. {error}")
            return
        offered = [RedisVersion("redis", (0, 0, 0))]  # what apt is asked for if it knows none
        for product, package in _PACKAGES.items():
            if candidate := await packages.candidate(package):
                offered.append(RedisVersion.read(product, candidate.rpartition(":")[2]))
        best = _PACKAGES[max(offered, key=lambda each: each.rank).product]
        try:
            await packages.install([best], say)
            await packages.disable_service(best)
        except MachineError as failure:
            say(f"Going on without sites of the AI cache: {failure}")
