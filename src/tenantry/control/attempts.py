"""Failed logins by subject, in the database, so that a restart does not reset them.

An attempt counts as failed from its start, and is uncounted when it succeeds: parallel attempts
gain nothing over sequential ones.
"""

import datetime as dt
from dataclasses import dataclass

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class Attempt:
    """A started attempt; ``failures`` includes it."""

    subject: str
    failures: int
    locked_until: dt.datetime | None = None


async def begin(tx: Tx, subject: str, *, account: str | None) -> Attempt | None:
    """Count an attempt; ``account`` is set if it concerns one account only.

    Returns None, without counting, if the subject is locked.
    """
    row = await (
        await tx.execute(
            """
            INSERT INTO failed_logins AS f (subject, account, failures) VALUES (%s, %s, 1)
            ON CONFLICT (subject) DO UPDATE SET last_at = now(), locked_until = NULL, failures =
                CASE WHEN f.last_at < now() - interval '1 day' THEN 1 ELSE f.failures + 1 END
            WHERE f.locked_until IS NULL OR f.locked_until <= now()
            RETURNING failures
            """,
            (subject, account),
        )
    ).fetchone()
    return Attempt(subject, row[0]) if row else None


async def seconds_locked(tx: Tx, subject: str) -> float:
    """Return for how many more seconds a subject is locked."""
    row = await (
        await tx.execute(
            """
            SELECT extract(epoch FROM locked_until - now()) FROM failed_logins
            WHERE subject = %s AND locked_until > now()
            """,
            (subject,),
        )
    ).fetchone()
    return float(row[0]) if row else 0.0


async def lock(tx: Tx, attempt: Attempt, seconds: int) -> Attempt:
    """Lock the attempt's subject from now on."""
    row = await (
        await tx.execute(
            """
            UPDATE failed_logins SET locked_until = now() + make_interval(secs => %s)
            WHERE subject = %s RETURNING locked_until
            """,
            (seconds, attempt.subject),
        )
    ).fetchone()
    return Attempt(attempt.subject, attempt.failures, row[0] if row else None)


async def take_back(tx: Tx, attempt: Attempt) -> None:
    """Uncount an attempt that did not fail, and remove its lock if it set one."""
    await tx.execute(
        """
        UPDATE failed_logins SET failures = greatest(failures - 1, 0),
            locked_until = nullif(locked_until, %s)
        WHERE subject = %s
        """,
        (attempt.locked_until, attempt.subject),
    )


async def clear(tx: Tx, subject: str) -> None:
    """Delete all failures of a subject."""
    await tx.execute("DELETE FROM failed_logins WHERE subject = %s", (subject,))


async def clear_account(tx: Tx, account: str) -> None:
    """Delete all failures of an account, from all addresses."""
    await tx.execute("DELETE FROM failed_logins WHERE account = %s", (account,))


async def forget_old(tx: Tx) -> None:
    """Delete failures of subjects that have had none for a day."""
    await tx.execute("DELETE FROM failed_logins WHERE last_at < now() - interval '1 day'")
