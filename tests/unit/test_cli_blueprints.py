"""``tenantry blueprint``: what it sends, what it prints, how it ends."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import OPERATION, SHOP, Cli, FakeApi, database, installed, strings


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture(name="shop")
def _shop(api: FakeApi) -> FakeApi:
    """An API that has one database, called shop."""
    api.on("GET", "/api/databases", [database()])
    return api


PROGRESS = {
    "progress": 0.5, "done_bytes": None, "total_bytes": None, "bytes_per_second": None,
    "seconds_left": None,
}  # fmt: skip
HOSTING = {
    "name": "hosting", "title": "Hosting", "description": "…", "version": 1, "extensions": [],
    "seeds": ["development"], "readme": "# Hosting\n\nSites.", "roles": [],
    "data_api": {"schemas": ["api"], "since": 2, "auth": True},
    "versions": [{"version": 1, "migration": 1, "summary": "all"}],
    "isolation": {"column": "customer_id", "allow": ["a:b", "c:d e"], "strict": True},
    "migrations": [{"version": 1, "title": "create_sites"}],
}  # fmt: skip


def test_a_blueprint_is_shown_with_the_proof_of_its_isolation(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/blueprints/hosting", HOSTING)
    out = cli("blueprint", "show", "hosting").out
    assert "tenantry_rls check URL --column customer_id --allow a:b --allow 'c:d e' --strict" in out
    assert "schemas api, from version 2 on, with application users" in out
    assert out.endswith("\n# Hosting\n\nSites.\n")


def test_a_database_that_does_not_have_its_schema_yet_is_waited_for(api: FakeApi, cli: Cli) -> None:
    made = database(blueprint=None, operation_id=OPERATION) | strings("s3cret")
    role = {"name": "app", **strings("r0le"), "password": "r0le"}
    urls = {"rest_url": "http://h:3001/d/rest/v1", "auth_url": "http://h:3001/d/auth/v1"}
    keys = {"jwt_secret": "s1", "anon_key": "k1", "service_role_key": "k2"}
    made |= {"password": "s3cret", "roles": [role], "data_api": urls | keys}
    api.on("POST", "/api/databases", made, status=201)
    failed = {"status": "failed", "step": "migrate", "error": {"detail": "No room."}}
    api.on("GET", f"/api/operations/{OPERATION}", failed | PROGRESS)
    ended = cli(
        "db", "create", "--name", "shop", "--blueprint", "hosting", "--seeds", "development"
    )
    assert api.requests[0].body == {
        "name": "shop",
        "blueprint": "hosting",
        "seeds": "development",
    }
    assert ended.code == 1
    assert "No room." in ended.err
    for line in (r"app password +r0le", r"users' url +http://h:3001/d/auth/v1", r"anon key +k1"):
        assert re.search(f"^{line}$", ended.out, re.MULTILINE)


def test_a_folder_is_said_with_a_slash(shop: FakeApi, cli: Cli, tmp_path: Path) -> None:
    assert cli("blueprint", "apply", "hosting", "--name", "x", "--database", "shop").code == 1
    ended = cli("blueprint", "apply", f"{tmp_path}/", "--name", "mine", "--database", "shop")
    assert (ended.code, "blueprint.toml" in ended.err) == (1, True)
    assert not shop.asked("POST", f"/api/databases/{SHOP}/blueprint")
    assert cli("blueprint", "upgrade").code == 2


@pytest.mark.parametrize("words", [("apply", "hosting"), ("upgrade",)])
def test_how_long_a_statement_may_take_is_said(
    shop: FakeApi, cli: Cli, words: tuple[str, ...]
) -> None:
    path = f"/api/databases/{SHOP}/blueprint"
    result = {"steps": [], "version": 1, "blueprint": "hosting"}
    shop.on("POST", path, {"id": OPERATION, "roles": []}, status=202)
    done = {"status": "succeeded", "step": None, "error": None, "result": result}
    shop.on("GET", f"/api/operations/{OPERATION}", done | PROGRESS)
    assert cli("blueprint", *words, "--database", "shop").code == 0
    assert cli("blueprint", *words, "--database", "shop", "--statement-timeout", "600").code == 0
    without, with_it = [request.body for request in shop.asked("POST", path)]
    assert with_it == without | {"statement_timeout_seconds": 600}
    assert without.keys() <= {"blueprint"}


def test_drift_is_an_exit_code(shop: FakeApi, cli: Cli) -> None:
    policy = {
        "kind": "policy", "name": "sites.own", "status": "changed", "drift": True,
        "expected": "using (a)", "found": "using (true)",
    }  # fmt: skip
    table = policy | {"kind": "table", "name": "mine", "status": "extra", "drift": False}
    path = f"/api/databases/{SHOP}/blueprint/diff"
    shop.on("GET", path, {"name": "hosting", "drifted": True, "differences": [policy, table]})
    ended = cli("blueprint", "diff", "--database", "shop")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "changed policy sites.own",
        "    expected: using (a)",
        "    found:    using (true)",
        "extra table mine (beside the blueprint)",
    ]
