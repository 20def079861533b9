"""The worker's reconciliation pass, once for each line that comes in. Answers with what it did.

To the line "flows" it answers with the kinds of operations that there are, and their steps.
"""

import asyncio
import json
import sys
import traceback

from tenantry.base import logs, settings
from tenantry.services.platform import open_platform
from tenantry.worker import reconcile


async def one_pass() -> None:
    async with open_platform(settings.load()) as platform:
        await reconcile(platform)


async def flows() -> str:
    async with open_platform(settings.load()) as platform:
        known = platform.operations._flows
    return json.dumps({kind: [step.name for step in flow.steps] for kind, flow in known.items()})


logs.configure("one pass")
for line in sys.stdin:
    try:
        if line == "flows\n":
            print(asyncio.run(flows()), flush=True)
            continue
        asyncio.run(one_pass())
        print("done", flush=True)
    except Exception:
        print(traceback.format_exc().replace("\n", " | "), flush=True)
