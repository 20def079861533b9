"""Attempts to log in: each is counted before anything is compared, and taken back if it succeeds.

``plan`` defines the counters.
"""

from collections.abc import Iterable

from tenantry.base.errors import LoginLocked, WrongCredentials
from tenantry.control import attempts, audit
from tenantry.control.attempts import Attempt
from tenantry.control.audit import Actor
from tenantry.control.store import ControlStore, Tx
from tenantry.control.users import UserRow
from tenantry.services.people.plan import Counter


async def begin(store: ControlStore, counters: Iterable[Counter]) -> list[Attempt]:
    """Count an attempt. Raises LoginLocked after too many failures."""
    async with store.transaction(audit.PLATFORM) as tx:
        return [await _begin(tx, counter) for counter in counters]


async def take_back(tx: Tx, counted: Iterable[Attempt]) -> None:
    """Do not count an attempt that has succeeded."""
    for attempt in counted:
        await attempts.take_back(tx, attempt)


async def refuse(
    tx: Tx, caller: Actor, user: UserRow | None, counted: list[Attempt], reason: str
) -> None:
    """Record that an attempt failed."""
    # An address that is no user's is not recorded: users type passwords into that field by mistake.
    await audit.record(
        tx,
        caller,
        "login",
        resource_kind="user",
        resource_id=None if user is None else user.id,
        resource_name=None if user is None else user.email,
        result="refused",
        details={
            "reason": reason,
            "failures": {a.subject.partition(":")[0]: a.failures for a in counted},
        },
    )


def wrong_password() -> WrongCredentials:
    return WrongCredentials(
        "The e-mail address or the password is not right.",
        hint="An administrator can reset it: tenantry user reset-password.",
    )


def wrong_code() -> WrongCredentials:
    return WrongCredentials(
        "The code is not right, or was used already.",
        hint="Wait for the next code, or use one of your recovery codes.",
    )


async def _begin(tx: Tx, counter: Counter) -> Attempt:
    attempt = await attempts.begin(tx, counter.subject, account=counter.account)
    if attempt is None:
        raise LoginLocked(
            "Too many logins have failed for this account or from this address.",
            seconds=await attempts.seconds_locked(tx, counter.subject),
            hint="Wait as long as Retry-After says. Whoever logs in from a device where that "
            "succeeded before, with its device_token, does not wait for what others failed at.",
        )
    seconds = counter.wait(attempt.failures)
    return await attempts.lock(tx, attempt, seconds) if seconds else attempt
