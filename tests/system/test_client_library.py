"""The generated clients, in Python and in JavaScript, against an installation."""

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Installation
from tenantry_client import ApiError, AsyncClient, Client, OperationFailed

JAVASCRIPT = Path(__file__).parents[2] / "libs" / "tenantry_client" / "javascript"


@pytest.fixture
def client(platform: Installation) -> Iterator[Client]:
    with Client(platform.url, platform.key) as made:
        yield made


def test_a_database_from_creation_to_deletion(client: Client) -> None:
    name = f"client-{uuid.uuid4().hex[:8]}"
    created = client.databases.create({"name": name, "environment": "staging"})
    assert created["password"] in created["connection_string"]
    shown = client.databases.show(created["id"])
    assert (shown["name"], shown["environment"]) == (name, "staging")
    changed = client.databases.update(created["id"], {"friendly_name": "The shop"})
    assert changed["friendly_name"] == "The shop"
    ran = client.sql.run(created["id"], {"sql": "SELECT 1 AS one"})
    assert ran["results"][0]["rows"] == [[1]]
    text = client.prometheus.measures(created["id"])
    assert "# HELP" in text
    assert client.databases.delete(created["id"])["id"] == created["id"]
    with pytest.raises(ApiError) as raised:
        client.databases.show(created["id"])
    assert (raised.value.status, raised.value.code) == (404, "not_found")


def test_pages(client: Client) -> None:
    mark = uuid.uuid4().hex[:8]
    wanted = {client.databases.create({"name": f"page-{mark}-{n}"})["id"] for n in range(3)}
    found = [each["id"] for each in client.databases.list(search=f"page-{mark}", limit=1)]
    assert len(found) == 3
    assert set(found) == wanted


def test_a_post_is_carried_out_once_under_its_key(client: Client) -> None:
    key = str(uuid.uuid4())
    name = f"once-{key[:8]}"
    first = client.databases.create({"name": name}, idempotency_key=key)
    again = client.databases.create({"name": name}, idempotency_key=key)
    assert first == again


def test_refusals_name_fields(client: Client) -> None:
    with pytest.raises(ApiError) as raised:
        client.databases.create({"name": "x" * 100, "max_connections": 0})
    assert raised.value.code == "invalid_input"
    assert {each["field"] for each in raised.value.errors} == {"name", "max_connections"}
    assert raised.value.request_id


def test_operations(client: Client) -> None:
    database = client.databases.create({"name": f"op-{uuid.uuid4().hex[:8]}"})
    seen = []
    branch = client.branches.create(database["id"], {"name": f"br-{uuid.uuid4().hex[:8]}"})
    done = client.wait(branch["operation"]["id"], lambda each: seen.append(each["status"]))
    assert done["result"] is not None
    assert seen[-1] == "succeeded"
    failing = client.migrations.run(
        database["id"], {"files": [{"name": "000001_x.up.sql", "sql": "SELECT nonsense"}]}
    )
    with pytest.raises(OperationFailed) as raised:
        client.wait(failing["id"])
    assert raised.value.operation["status"] == "failed"


async def test_with_asyncio(platform: Installation) -> None:
    async with AsyncClient(platform.url, platform.key) as client:
        created = await client.databases.create({"name": f"async-{uuid.uuid4().hex[:8]}"})
        found = [each["id"] async for each in client.databases.list(limit=2)]
        assert created["id"] in found
        branch = await client.branches.create(created["id"], {"name": f"{created['name']}-b"})
        assert (await client.wait(branch["operation"]["id"]))["status"] == "succeeded"
        with pytest.raises(ApiError):
            await client.databases.show(str(uuid.uuid4()))


def test_a_wrong_key_is_an_error(platform: Installation) -> None:
    with Client(platform.url, "wrong") as client, pytest.raises(ApiError) as raised:
        next(client.databases.list())
    assert raised.value.status == 401


SCRIPT = """
const { Client, ApiError, ConnectionFailed } = await import(%(module)s);
const client = new Client({ url: %(url)s, key: %(key)s });
const name = %(name)s;
const created = await client.databases.create({ name, environment: "staging" });
const found = [];
for await (const each of client.databases.list({ search: name, limit: 1 })) found.push(each.id);
const ran = await client.sql.run(created.id, { sql: "SELECT 1" });
const branch = await client.branches.create(created.id, { name: `${name}-b` });
const states = [];
const done = await client.wait(branch.operation.id, (each) => states.push(each.status));
const refused = await client.databases.create({ name: "", max_connections: 0 }).catch((e) => e);
const key = { idempotencyKey: crypto.randomUUID() };
const once = await client.databases.create({ name: `${name}-c` }, key);
const again = await client.databases.create({ name: `${name}-c` }, key);
const text = await client.prometheus.measures(created.id);
await client.databases.delete(created.id);
const gone = await client.databases.show(created.id).catch((e) => e);
const nowhere = new Client({ url: "http://127.0.0.1:9999", key: "k" });
const away = await nowhere.databases.show("x").catch((e) => e);
console.log(JSON.stringify({
  found: found.length === 1 && found[0] === created.id,
  rows: ran.results[0].rows,
  done: done.status,
  refused: [refused instanceof ApiError, refused.code, refused.errors.map((e) => e.field).sort()],
  same: once.id === again.id,
  text: text.includes("# HELP"),
  gone: [gone.status, gone.code],
  away: [away instanceof ConnectionFailed, away.sent],
}));
"""


def test_javascript(platform: Installation) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    given = {
        "module": (JAVASCRIPT / "tenantry-client.js").as_uri(),
        "url": platform.url,
        "key": platform.key,
        "name": f"js-{uuid.uuid4().hex[:8]}",
    }
    script = SCRIPT % {name: json.dumps(value) for name, value in given.items()}
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "found": True,
        "rows": [[1]],
        "done": "succeeded",
        "refused": [True, "invalid_input", ["max_connections", "name"]],
        "same": True,
        "text": True,
        "gone": [404, "not_found"],
        "away": [True, False],
    }
