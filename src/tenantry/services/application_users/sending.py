"""E-mails on their way, after the answers: so many of one database at once, and each for a time."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiosmtplib
import structlog

from tenantry.base.ids import new_id
from tenantry.base.setting_groups import Smtp
from tenantry.base.shares import NoPlace, Shares
from tenantry.services import mail
from tenantry.services.application_users import limits, plan
from tenantry.services.application_users.model import AuthError, Kind, Site

log = structlog.get_logger()

EACH_DATABASE = 20  # e-mails at once
_AT_ONCE = 50  # handed to the mail server, of all databases
# The tenant's code runs before an e-mail is composed, and can lift the statement's own limit.
SECONDS = 30.0
_FAILURES = (OSError, ValueError, aiosmtplib.SMTPException)


class Sending:
    """The e-mails of one process. ``smtp`` is the mail server, if there is one."""

    def __init__(self, smtp: Smtp | None, domain: str) -> None:
        self._smtp = smtp
        self._domain = domain
        self._places = Shares(each=EACH_DATABASE)
        self._delivering = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def serves(self, site: Site) -> bool:
        """Whether e-mails are sent for a database."""
        return self._smtp is not None and site.settings.site_url is not None

    @asynccontextmanager
    async def place(self, site: Site) -> AsyncIterator[None]:
        """Hold one of a database's places. Raises AuthError if there is none."""
        try:
            async with self._places.place(site.database):
                yield
        except NoPlace:
            limit = limits.MAILS_FROM
            raise AuthError(429, limit.code, limit.message, SECONDS) from None

    def begin(self, held: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
        """Do what sends an e-mail in the background, and give up what is held for it then."""
        task = asyncio.create_task(_done(held, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def deliver(
        self, site: Site, email: str, kind: Kind, link: str, new: str | None = None
    ) -> None:
        """Hand a link to the mail server, for an address that is changed to ``new``.

        Raises OSError, ValueError, SMTPException.
        """
        smtp, page = self._smtp, site.settings.site_url
        if smtp is None or page is None:
            return
        message = mail.composed(
            smtp,
            to=email,
            subject=plan.subject(kind),
            text=plan.text(kind, page, link, new),
            at=dt.datetime.now(dt.UTC),
            message_id=f"{new_id()}@{self._domain}",
        )
        async with self._delivering:
            await mail.deliver(smtp, message)

    async def close(self) -> None:
        """Let what is being sent end."""
        await asyncio.gather(*self._tasks)


async def _done(held: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    async with held:
        try:
            async with asyncio.timeout(SECONDS):
                await work
        except AuthError as error:
            log.warning("application_user.mail_not_sent", error=error.message)
        except _FAILURES as error:
            # Not its text: mail servers repeat addresses in it.
            log.warning("application_user.mail_not_sent", error=type(error).__name__)
        except Exception:
            log.exception("application_user.mail_not_sent")
