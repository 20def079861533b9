"""Databases created by the verb itself, as an entry point other than the REST API does."""

import sys
import uuid
from typing import Any

import httpx

from answers import data
from clients import ask
from harness import Installation
from inside import inside
from tenantry.base import logs, settings
from tenantry.base.errors import Forbidden, IdempotencyKeyReused, Unauthenticated
from tenantry.base.secrets import Secret
from tenantry.control.attributes import Attributes
from tenantry.services.databases.model import NewDatabase, connection_strings
from tenantry.services.platform import Platform, open_platform
from tenantry.services.provisioning.model import FromBlueprint, Provisioned
from tenantry.services.repository.service import Repositories
from tenantry.services.requests.model import Call
from tenantry.services.requests.service import Caller

WANTED = NewDatabase(
    attributes=Attributes(friendly_name="From a page", has_shadow=False),
    owner_email=None,
    limits={},
)


async def calling(platform: Platform, credential: str, key: str, content: bytes) -> Caller:
    """Whoever submits a page's form."""
    call = Call(
        action="POST /databases",
        request_id="a page",
        address="192.0.2.7",
        credential=Secret(credential),
        idempotency_key=key,
        content=content,
    )
    async with call.held:
        return await platform.requests.authenticate(call)


async def create_by_a_page(_: Repositories, credential: str, key: str) -> dict[str, Any]:
    """Create a database with a blueprint, and submit the same and another form again."""
    logs.configure("page")  # to standard error
    async with open_platform(settings.load()) as platform:

        async def submit(content: bytes) -> tuple[Provisioned, bool]:
            caller = await calling(platform, credential, key, content)
            await caller.require("databases:write")
            made = await platform.provisioning.create(caller, WANTED, FromBlueprint("hosting"))
            return made, caller.call.replayed

        (made, first), (again, second) = await submit(b"one"), await submit(b"one")
        refused = ""
        try:
            await submit(b"another")
        except IdempotencyKeyReused as error:
            refused = error.code
        strings = connection_strings(
            platform.settings, made.opened.row, made.opened.password.reveal()
        )
        return {
            "id": made.opened.row.id,
            "string": strings.connection_string,
            "roles": [each.role.row.name for each in made.roles],
            "operation": made.operation and made.operation.status,
            "same": made == again,
            "replayed": [first, second],
            "refused": refused,
            "web frameworks": [name for name in ("fastapi", "starlette") if name in sys.modules],
        }


def test_a_page_creates_a_database_in_one_call(platform: Installation, api: httpx.Client) -> None:
    made = inside(platform, create_by_a_page, platform.key, f"key-{uuid.uuid4()}")
    assert ask(made["string"]) == 1
    assert made["operation"] == "succeeded"
    assert made["roles"]
    assert (made["same"], made["replayed"]) == (True, [False, True])
    assert made["refused"] == "idempotency_key_reused"
    assert made["web frameworks"] == []
    shown = data(api.get(f"/api/databases/{made['id']}"))
    assert shown["blueprint"]["name"] == "hosting"
    logged = data(api.get("/api/audit-logs", params={"resource_id": made["id"]}))
    created = next(each for each in logged if each["action"] == "database.create")
    assert (created["address"], created["request_id"]) == ("192.0.2.7", "a page")


async def ask_without_the_right(_: Repositories, credential: str) -> list[str]:
    """Which errors a key without the scope, and none at all, lead to."""
    logs.configure("page")
    found = []
    async with open_platform(settings.load()) as platform:
        for given in (credential, "tnt_unknown"):
            try:
                caller = await calling(platform, given, "key", b"")
                await caller.require("databases:write")
            except (Forbidden, Unauthenticated) as error:
                found.append(error.code)
    return found


def test_rights_are_checked_on_the_same_path(platform: Installation, api: httpx.Client) -> None:
    asked = {"name": "Reader", "scopes": ["databases:read"]}
    reader = data(api.post("/api/api-keys", json=asked), 201)["key"]
    assert inside(platform, ask_without_the_right, reader) == ["forbidden", "unauthenticated"]
    logged = data(api.get("/api/audit-logs", params={"result": "refused", "limit": 50}))
    assert "POST /databases" in {each["details"].get("request") for each in logged}
