"""Handing e-mails to the mail server of the settings."""

import asyncio
import datetime as dt
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import aiosmtplib

from tenantry.base.setting_groups import Smtp

_SECONDS = 10.0


def composed(
    smtp: Smtp, *, to: str, subject: str, text: str, at: dt.datetime, message_id: str
) -> EmailMessage:
    """Return an e-mail. Raises ValueError for what no header can have."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = subject
    mail["From"] = smtp.sender
    mail["To"] = to
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{message_id}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    return mail


async def deliver(smtp: Smtp, mail: EmailMessage) -> None:
    """Hand an e-mail to the mail server. Raises OSError, ValueError, SMTPException."""
    context = None
    if smtp.security != "none":
        context = await asyncio.to_thread(ssl.create_default_context, cafile=smtp.ca_file)
    await aiosmtplib.send(
        mail,
        hostname=smtp.host,
        port=smtp.port,
        username=smtp.user,
        password=None if smtp.password is None else smtp.password.get_secret_value(),
        use_tls=smtp.security == "tls",
        start_tls=smtp.security == "starttls",
        tls_context=context,
        timeout=_SECONDS,
    )
