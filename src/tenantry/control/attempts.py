"""Failed logins, by what they count under; in the database, so that a restart forgives nothing.

An attempt counts as failed from its begin on, and is taken back when it succeeds: many
at once get no further than one after the other.
"""

import datetime as dt
from dataclasses import dataclass

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that has begun; ``failures`` counts it too."""

    subject: str
    failures: int
    locked_until: dt.datetime | None = None


async def begin(tx: Tx, subject: str, *, account: str | None) -> Attempt | None:
    """Count an attempt on an account, if it is on one alone.

    None if the subject is locked; then nothing is counted.
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
    """How much longer a subject is locked."""
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
    """This one did not fail: uncount it, and lift the lock that it has put on, if it did."""
    await tx.execute(
        """
        UPDATE failed_logins SET failures = greatest(failures - 1, 0),
            locked_until = nullif(locked_until, %s)
        WHERE subject = %s
        """,
        (attempt.locked_until, attempt.subject),
    )


async def clear(tx: Tx, subject: str) -> None:
    """Forget all failures of a subject."""
    await tx.execute("DELETE FROM failed_logins WHERE subject = %s", (subject,))


async def clear_account(tx: Tx, account: str) -> None:
    """Forget all failures of an account, from wherever they came."""
    await tx.execute("DELETE FROM failed_logins WHERE account = %s", (account,))


async def forget_old(tx: Tx) -> None:
    """After a day without another one failures no longer count."""
    await tx.execute("DELETE FROM failed_logins WHERE last_at < now() - interval '1 day'")
