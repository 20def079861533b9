"""The worker's convergence pass, once for each line that comes in. Answers with what it did."""

import asyncio
import sys
import traceback

from tenantry.base import logs, settings
from tenantry.services.platform import open_platform
from tenantry.worker import converge


async def one_pass() -> None:
    async with open_platform(settings.load()) as platform:
        await converge(platform)


logs.configure("one pass")
for _ in sys.stdin:
    try:
        asyncio.run(one_pass())
        print("done", flush=True)
    except Exception:
        print(traceback.format_exc().replace("\n", " | "), flush=True)
