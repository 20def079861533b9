"""The path of each request: authenticated, authorized, counted, and carried out once."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from tenantry.base.errors import (
    Conflict,
    FieldError,
    IdempotencyKeyReused,
    InvalidInput,
    RequestInProgress,
    TenantryError,
)
from tenantry.base.events import StepDone, emit
from tenantry.base.secrets import SecretSource
from tenantry.control import audit, idempotency
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.idempotency import StoredResult
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.services.access.service import Access, Principal, Refusal
from tenantry.services.requests import results
from tenantry.services.requests.limits import Limits
from tenantry.services.requests.model import Call
from tenantry.services.requests.results import Result

Done = TypeVar("Done")

LONGEST_KEY = 255
_LONGEST_ACTION = 200  # in the audit
_TURN_SECONDS = 15.0  # how long a customer's request waits for its turn with a database


class Requests:
    """Authentication and limits, shared by all entry points of this process."""

    def __init__(self, store: ControlStore, access: Access, limits: Limits) -> None:
        self._store = store
        self._access = access
        self.limits = limits

    async def authenticate(self, call: Call) -> "Caller":
        """Find out who makes a call. Raises Unauthenticated, TooManyRequests, TooManyAtOnce."""
        limits = self.limits
        async with limits.recognising(call.address):
            found = await self._access.recognise(
                call.credential, address=call.address, request_id=call.request_id
            )
        if isinstance(found, Refusal):
            call.charge(await limits.failure(call.address))
            await self._access.refuse(
                found,
                action=call.action[:_LONGEST_ACTION],
                audited=await limits.is_audited(found.claimed.id),
            )
        call.charge(await limits.caller(found.caller_id))
        await call.held.enter_async_context(
            limits.running(found.caller_id, found.actor.customer_id)
        )
        return Caller(found, call, self._store, self._access, limits)

    async def charge_login(self, call: Call, device: str | None) -> None:
        """Count an attempt to log in, successful or not. Raises TooManyRequests."""
        call.charge(await self.limits.login(call.address, device))


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller of a request, with the ways in which it changes something."""

    principal: Principal
    call: Call
    _store: ControlStore = field(repr=False)
    _access: Access = field(repr=False)
    _limits: Limits = field(repr=False)

    @property
    def actor(self) -> Actor:
        return self.principal.actor

    async def require(self, scope: str) -> None:
        """Raise Forbidden unless the caller has the scope; the refusal is audited."""
        await self._access.authorize(
            self.principal, scope, action=self.call.action[:_LONGEST_ACTION]
        )

    async def require_of_platform(self, scope: str) -> None:
        """As ``require``, but for a caller that is bound to a customer: that sees its own only."""
        if self.actor.customer_id is None:
            await self.require(scope)

    def visiting(self) -> AbstractAsyncContextManager[None]:
        """Hold a place for work that may wait for a tenant's database. Raises TooManyAtOnce."""
        return self._limits.visiting(self.actor.customer_id or self.principal.caller_id)

    @asynccontextmanager
    async def recorded(
        self, action: str, row: DatabaseRow, details: dict[str, object]
    ) -> AsyncIterator[None]:
        """Record that work in a database begins, and what came of it.

        ``details`` may be added to meanwhile. A failure adds its code as ``error``, unless the work
        has done so.
        """
        await self._record(action, row, "accepted", details)
        result: audit.Result = "failed"
        try:
            yield
            result = "ok"
        except TenantryError as error:
            details.setdefault("error", error.code)
            raise
        except asyncio.CancelledError:
            details["error"] = "cancelled"
            raise
        finally:
            await self._record(action, row, result, details)

    async def _record(
        self, action: str, row: DatabaseRow, result: audit.Result, details: dict[str, object]
    ) -> None:
        async with self._store.transaction(self.actor) as tx:
            await audit.record_on(tx, self.actor, action, row, result=result, details=details)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A transaction for what the call changes; its follow-ups are done when the block ends.

        A change of a database or a cluster may wait for a tenant, for an operation on it, or for a
        remote repository. So the requests of a customer change it one at a time, each in a
        transaction on a connection of its own; a request that waits for its turn holds nothing.
        Raises Busy, TooManyAtOnce.
        """
        target = self.call.target
        if target is None:
            async with self._store.transaction(self.actor) as tx:
                yield tx
            return
        async with (
            # By customer: requests for a neighbour's resource do not make the neighbour wait.
            self._limits.turn((self.actor.customer_id, target), within=_TURN_SECONDS),
            self.visiting(),
            self._store.long_transaction(self.actor) as tx,
        ):
            yield tx

    async def idempotent(
        self, kind: type[Result], work: Callable[[Tx, SecretSource], Awaitable[Result]]
    ) -> Result:
        """Do ``work`` in one transaction; under an idempotency key, at most once.

        ``kind`` is the type of its result. That is stored under the key, and returned to a repeated
        request, which does nothing; secrets in it have to be made by the source that ``work`` is
        given.

        Raises InvalidInput, IdempotencyKeyReused, RequestInProgress, Conflict, and what ``work``
        and the follow-ups of its transaction raise.
        """
        key = self._key()
        async with self.transaction() as tx:
            tx.after_commit(self._committed)
            if key is None:
                return await work(tx, SecretSource())
            return await self._under_key(tx, key, kind, work)

    async def begin(self, want: Callable[[Tx], Awaitable[OperationRow]]) -> OperationRow:
        """Begin an operation, under an idempotency key at most once. Raises as ``idempotent``."""
        return await self.idempotent(OperationRow, lambda tx, _: want(tx))

    async def at_most_once(self, work: Callable[[], Awaitable[Done]]) -> Done:
        """Do ``work`` outside the control database; under an idempotency key, at most once.

        What it returns is not stored, and a repeated request is refused. Where work raises an error
        that leaves nothing done, its key can be used again; not where that is not known.

        Raises InvalidInput, IdempotencyKeyReused, RequestInProgress, Conflict, and as ``work``.
        """
        key, caller_id = self._key(), self.principal.caller_id
        if key is None:
            return await work()
        # Not ``self.transaction``: the call may have its place already, and the work gets its own.
        async with self._store.transaction(self.actor) as tx:
            if await self._stored(tx, key) is not None:
                raise Conflict(
                    "A request with this Idempotency-Key was carried out, or is being carried out:"
                    " its answer is not stored.",
                    hint="See what it has changed, before you send it again with another key.",
                )
            fingerprint = self._fingerprint()
            await idempotency.keep(tx, caller_id, key, StoredResult(fingerprint, b"", "null"))
        try:
            return await work()
        except TenantryError as error:
            if not error.may_be_done:
                async with self._store.transaction(self.actor) as tx, as_platform(tx):
                    await idempotency.forget(tx, caller_id, key)
            raise

    async def is_repeated(self) -> bool:
        """Whether a request with this idempotency key has been carried out before."""
        key = self._key()
        if key is None:
            return False
        async with self._store.transaction(self.actor) as tx:
            return await idempotency.find(tx, self.principal.caller_id, key) is not None

    async def _committed(self) -> None:
        emit(StepDone("request", "committed", self.call.request_id))

    def _key(self) -> str | None:
        key = self.call.idempotency_key
        if key is None:
            return None
        if not (1 <= len(key) <= LONGEST_KEY) or not key.isascii() or not key.isprintable():
            raise InvalidInput.of(
                "Idempotency-Key", f"must be 1 to {LONGEST_KEY} printable ASCII characters"
            )
        return key

    async def _under_key(
        self,
        tx: Tx,
        key: str,
        kind: type[Result],
        work: Callable[[Tx, SecretSource], Awaitable[Result]],
    ) -> Result:
        caller_id = self.principal.caller_id
        stored = await self._stored(tx, key)
        source = SecretSource.derived(
            api_key=self.principal.secret,
            idempotency_key=key,
            salt=stored.salt if stored else SecretSource().salt,
        )
        if stored is not None:
            self.call.replayed = True
            return results.read(kind, stored.result, source)
        result = await work(tx, source)
        await idempotency.keep(
            tx,
            caller_id,
            key,
            StoredResult(self._fingerprint(), source.salt, results.write(kind, result, source)),
        )
        return result

    async def _stored(self, tx: Tx, key: str) -> StoredResult | None:
        """Lock a key until the transaction ends, and return what is stored under it.

        Raises RequestInProgress, IdempotencyKeyReused.
        """
        caller_id = self.principal.caller_id
        if not await idempotency.try_lock(tx, caller_id, key):
            raise RequestInProgress(
                "A request with this Idempotency-Key is still being worked on.",
                hint="Send it again in a moment.",
            )
        stored = await idempotency.find(tx, caller_id, key)
        if stored is not None and not hmac.compare_digest(stored.fingerprint, self._fingerprint()):
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for a request that asked for something else.",
                hint="Use a new key for a new request.",
                fields=(FieldError("Idempotency-Key", "belongs to another request", "reused"),),
            )
        return stored

    def _fingerprint(self) -> bytes:
        """A digest of what the call requests, independent of the spacing and order of its JSON.

        It is keyed with a secret that only the caller holds: a body may contain a user's password,
        which shall not be guessed from what is stored. The caller's rights are part of it, so that
        a result is not returned again to a caller that has lost the right to it.
        """
        content = self.call.content
        # Content that is not expected was not checked to be JSON.
        with contextlib.suppress(ValueError, RecursionError):
            content = json.dumps(json.loads(content), sort_keys=True).encode()
        rights = f"{self.actor.customer_id} {' '.join(sorted(self.principal.scopes))}"
        what = f"{self.call.action}\n{rights}\n".encode()
        key = self.principal.secret.reveal().encode()
        return hmac.digest(key, what + content, hashlib.sha256)
