"""A site with an allowlist whose Redis hangs is tried less and less often."""

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.services.sites import allowlists
from tenantry.services.sites.allowlists import SiteAllowlists

SITE = uuid.UUID(int=5)


async def test_a_site_that_hangs_is_tried_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now, tries = 0.0, [0]
    monkeypatch.setattr(allowlists, "time", SimpleNamespace(monotonic=lambda: now))

    class Hanging:
        hangs = True

        async def ensure(self, _: uuid.UUID) -> int:
            tries[0] += 1
            if self.hangs:
                raise Unavailable("The site's Redis does not answer.")
            return 0

    sites = Hanging()
    lists = SiteAllowlists(cast(Any, None), Home(tmp_path), cast(Any, sites), cast(Any, None))

    async def second(state: object) -> bool:
        nonlocal now
        now += 1
        try:
            return await lists._ensure(SITE, cast(Any, state))
        except Unavailable:
            return False

    for _ in range(300):
        assert not await second("as it is")
    assert tries == [9]  # after 2, 4, 8, 16, 32 seconds, and then each minute
    assert not await second("changed")  # at once
    assert tries == [10]
    sites.hangs = False
    assert not await second("changed")  # it rests
    assert await second("changed again")
    assert await second("as it is")
