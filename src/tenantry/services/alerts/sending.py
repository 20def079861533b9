"""Sending one message to one channel: by e-mail, or to a webhook, Slack or Discord."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import dataclass

import aiosmtplib
import httpx

from tenantry.base.errors import Conflict
from tenantry.base.secrets import SIGNING_PREFIX, Secret
from tenantry.base.settings import Settings
from tenantry.control.alert_channels import ChannelKind
from tenantry.services import mail
from tenantry.services.alerts import plan
from tenantry.services.alerts.model import Message
from tenantry.services.public_addresses import NotPublic, public_address

_SECONDS = 10.0
_MOST_TEXT = 1900  # Discord takes 2,000 characters
_NO_EMBEDS = 4  # Discord's SUPPRESS_EMBEDS: no preview of a URL in a name
_SHOWN_ERROR = 300
# ValueError is of hosts that are no IDNA, of headers and of TLS: what a customer wrote leads to it.
MAIL_SERVER = "Set TENANTRY_SMTP_HOST and TENANTRY_SMTP_SENDER."
_FAILURES = (OSError, ValueError, aiosmtplib.SMTPException, httpx.HTTPError, httpx.InvalidURL)
# What Discord reads as formatting: [a name](https://elsewhere.example) would be a link.
_MARKDOWN = re.compile(r"[\\`*_~|\[\]<>#]")
_OF_CONTENT = {400, 413, 422}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a channel leads. Those of customers (not ``trusted``) reach the Internet only."""

    kind: ChannelKind
    target: Secret
    signing_key: Secret | None
    trusted: bool


class SendingFailed(Conflict):
    """A message could not be sent; it is sent again later."""

    code = "channel_failed"
    title = "The channel does not take messages"


class MessageRefused(SendingFailed):
    """This message is not accepted, because of what is in it; others may be."""


class Sender:
    """Sends messages, by these settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, to: Destination, message: Message) -> None:
        """Send a message. Raises SendingFailed unless it was accepted, within 10 seconds.

        It is MessageRefused if later messages may be accepted nevertheless.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                if to.kind == "email":
                    await self._send_email(to, message)
                else:
                    await _post(to, message)
        except TimeoutError:
            raise SendingFailed(f"There was no answer within {_SECONDS:.0f} s.") from None
        except _FAILURES as error:
            reason = str(error) or type(error).__name__
            is_its_own = isinstance(error, ValueError | aiosmtplib.SMTPDataError)
            kind = MessageRefused if is_its_own else SendingFailed
            raise kind(reason[:_SHOWN_ERROR]) from error

    @property
    def has_mail_server(self) -> bool:
        return self._settings.smtp is not None

    async def _send_email(self, to: Destination, message: Message) -> None:
        smtp = self._settings.smtp
        if smtp is None:
            raise SendingFailed("There is no mail server.", hint=MAIL_SERVER)
        await mail.deliver(
            smtp,
            mail.composed(
                smtp,
                to=to.target.reveal(),
                subject=f"Tenantry: {plan.title(message)}",
                text=f"{plan.text(message)}\n\nMessage {message.id}\n",
                at=message.at,
                message_id=f"{message.id}@{self._settings.domain}",
            ),
        )


async def _post(to: Destination, message: Message) -> None:
    """POST a message. Redirects are not followed: they could lead anywhere."""
    url = httpx.URL(to.target.reveal())
    body = _body(to.kind, message)
    headers = {"content-type": "application/json", "user-agent": "Tenantry"}
    if to.signing_key is not None:
        headers |= signed(to.signing_key, message, body, int(time.time()))
    extensions = {}
    if not to.trusted:
        # Connect to the very address that was checked, whatever the name resolves to later.
        try:
            address = await public_address(url.host, url.port or 443)
        except NotPublic as error:
            raise SendingFailed(error.detail) from None
        headers["host"] = url.netloc.decode()
        extensions["sni_hostname"] = url.host
        url = url.copy_with(host=address)
    async with (
        httpx.AsyncClient(trust_env=to.trusted, timeout=_SECONDS) as client,
        client.stream(
            "POST", url, content=body, headers=headers, extensions=extensions
        ) as response,
    ):
        # The body is not read: it could be endless, and is nobody's to see.
        if not response.is_success:
            kind = MessageRefused if response.status_code in _OF_CONTENT else SendingFailed
            raise kind(f"It answered {response.status_code} {response.reason_phrase}.")


def _body(kind: ChannelKind, message: Message) -> bytes:
    text = plan.text(message)
    content: dict[str, object]
    if kind == "slack":
        # Names of databases must not become mentions, links or formatting.
        safe = text[:_MOST_TEXT].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        content = {"text": f"{safe}\nMessage {message.id}", "mrkdwn": False}
        content |= {"unfurl_links": False, "unfurl_media": False}
    elif kind == "discord":
        safe = _MARKDOWN.sub(r"\\\g<0>", text)[:_MOST_TEXT]
        content = {"content": f"{safe}\nMessage {message.id}", "allowed_mentions": {"parse": []}}
        content["flags"] = _NO_EMBEDS
    else:
        content = {
            "id": str(message.id),
            "type": message.event,
            "timestamp": message.at.isoformat(),
            "data": message.data,
        }
    return json.dumps(content).encode()


def signed(key: Secret, message: Message, body: bytes, now: int) -> dict[str, str]:
    """Return the headers that sign a body, as Standard Webhooks 1.0 has them."""
    raw = base64.b64decode(key.reveal().removeprefix(SIGNING_PREFIX))
    content = f"{message.id}.{now}.".encode() + body
    signature = base64.b64encode(hmac.digest(raw, content, hashlib.sha256)).decode()
    return {
        "webhook-id": str(message.id),
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,{signature}",
    }
