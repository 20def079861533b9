"""``db env --kubernetes``: Kubernetes takes what is written, and no password gets lost."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cli_support import (
    MASK,
    SHOP,
    Cli,
    Ended,
    FakeApi,
    database,
    installed,
    on_a_terminal,
    strings,
)
from hypothesis import given
from hypothesis import strategies as st

from tenantry.cli import kubernetes, output
from tenantry.cli.kubernetes import Manifests
from tenantry.cli.variables import Wanted

NAME = "tenant_bcdfghjkmnpq"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB+w==\n-----END CERTIFICATE-----\n"
VERSIONS = ("1.25", "1.37")
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "run-on-kubernetes.md"
REPORTING = {
    "id": "0b5f7c1e-6a54-4d0e-9d3f-2a6a2f0f7a12",
    "name": "reporting",
    "username": "user_bcdfghjkmnpq_reporting",
    "max_connections": 10,
    "connection_string": strings()["connection_string"].replace("q:", "q_reporting:"),
    "connection_string_pooled": strings()["connection_string_pooled"].replace("q:", "q_reporting:"),
    "prisma": {},
    "connection": {},
}


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        api.on("GET", "/api/databases", [database()])
        api.on("GET", f"/api/databases/{SHOP}/connection-strings", strings())
        api.on("GET", f"/api/databases/{SHOP}/roles", [REPORTING])
        api.text("/ca.crt", PEM)
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def manifests(password: str = MASK, pem: str = PEM, **changes: Any) -> Manifests:
    """What the command writes for the database."""
    row = strings()
    wanted = Wanted(row, kubernetes.CA_IN_CONTAINER, password, prefix="DB_")
    values = {"name": "shop-database", "namespace": None, "called": "shop", "pool_max": 10}
    return Manifests(wanted, pem, **(values | changes))


PASSWORD = "p@ss: #1"


def piped(cli: Cli, *options: str) -> Ended:
    """What the command prints, with a password, into a pipe."""
    cli.monkeypatch.setattr("sys.stdin", _Stdin(f"{PASSWORD}\n"))
    ended = cli("db", "env", "shop", "--kubernetes", "--password-stdin", *options)
    assert ended.code == 0, ended.err
    return ended


def printed(cli: Cli, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ConfigMap and the Secret that the command prints, which Kubernetes accepts."""
    config_map, secret = yaml.safe_load_all(piped(cli, *options).out)
    for each in (config_map, secret):
        for version in VERSIONS:
            kubernetes_validate.validate(each, version, strict=True)
    return config_map, secret


# What is written


@pytest.mark.usefixtures("api")
def test_the_config_map_has_all_that_is_no_secret(cli: Cli) -> None:
    config_map, _ = printed(cli, "--pooled", "--namespace", "web")
    assert config_map == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "shop-database", "namespace": "web"},
        "data": {
            "PGHOST": "db.example.com",
            "PGPORT": "6432",
            "PGUSER": "user_bcdfghjkmnpq",
            "PGDATABASE": NAME,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": "/etc/tenantry/ca.crt",
            "NODE_EXTRA_CA_CERTS": "/etc/tenantry/ca.crt",
            "DB_TYPE": "postgresql",
            "DB_HOST": "db.example.com",
            "DB_PORT": "6432",
            "DB_NAME": NAME,
            "DB_USER": "user_bcdfghjkmnpq",
            "DB_SSLMODE": "verify-full",
            "DB_SSL_MODE": "verify-full",
            "DB_POOL_MAX": "16",
            "DB_POOL_IDLE_TIMEOUT": "600000",
            "DB_POOL_CONNECTION_TIMEOUT": "30000",
            "ca.crt": PEM,
        },
    }


@pytest.mark.usefixtures("api")
def test_the_secret_has_the_password_and_the_urls(cli: Cli) -> None:
    _, secret = printed(cli, "--ca-file", "/ca.pem")
    login = "postgresql://user_bcdfghjkmnpq:p%40ss%3A%20%231@db.example.com"
    query = "?sslmode=verify-full&sslrootcert=/ca.pem"
    assert secret == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "shop-database"},
        "type": "Opaque",
        "stringData": {
            "DATABASE_URL": f"{login}:6432/{NAME}{query}",
            "DIRECT_URL": f"{login}:5432/{NAME}{query}",
            "SHADOW_DATABASE_URL": f"{login}:5432/{NAME}_shadow{query}",
            "PGPASSWORD": PASSWORD,
            "DB_PASSWORD": PASSWORD,
        },
    }


class _Stdin:
    """Standard input that is no terminal."""

    def __init__(self, text: str) -> None:
        self._text = text

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        return self._text


@pytest.mark.usefixtures("api")
def test_both_objects_are_a_list_in_json(cli: Cli) -> None:
    found = json.loads(piped(cli, "--json").out)
    assert found["kind"] == "List"
    assert found["items"] == list(printed(cli))


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_the_password_nothing_is_piped(cli: Cli, options: tuple[str, ...]) -> None:
    """kubectl would replace a working Secret."""
    refused = cli("db", "env", "shop", "--kubernetes", *options)
    assert (refused.code, refused.out) == (1, "")
    assert f"would have {MASK} in place of the password" in " ".join(refused.err.split())
    assert "Add --password-stdin, or --write" in " ".join(refused.err.split())


@pytest.mark.usefixtures("api")
def test_an_unknown_password_is_reported_on_a_terminal() -> None:
    code, seen = on_a_terminal("db", "env", "shop", "--kubernetes", columns=200)
    assert code == 0
    assert f'PGPASSWORD: "{MASK}"' in seen
    assert f"# The password is not known: {MASK} stands in its place." in seen
    assert "do not apply it. --password-stdin puts the password in." in seen


def test_a_host_that_is_the_pod_is_reported(cli: Cli, api: FakeApi) -> None:
    assert "TENANTRY_DOMAIN" not in piped(cli).err
    local = json.loads(json.dumps(strings()).replace("db.example.com", "localhost"))
    api.scripts["GET", f"/api/databases/{SHOP}/connection-strings"].clear()
    api.on("GET", f"/api/databases/{SHOP}/connection-strings", local)
    said = " ".join(piped(cli).err.split())
    assert "in a pod is the pod itself: set TENANTRY_DOMAIN" in said


@pytest.mark.usefixtures("api")
def test_a_roles_objects_have_its_name_login_and_limit(cli: Cli) -> None:
    config_map, secret = printed(cli, "--role", REPORTING["username"], "--prefix", "REPORTS_")
    assert secret["metadata"] == {"name": "shop-reporting-database"}
    assert config_map["data"]["REPORTS_USER"] == "user_bcdfghjkmnpq_reporting"
    assert config_map["data"]["REPORTS_POOL_MAX"] == "5"
    assert list(secret["stringData"]) == [
        *("DATABASE_URL", "DIRECT_URL", "PGPASSWORD", "REPORTS_PASSWORD")
    ]


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("options", "most"),
    [
        ((), "10"),
        (("--replicas", "3"), "5"),
        (("--replicas", "3", "--pooled"), "5"),
        (("--replicas", "40", "--pooled"), "1"),
    ],
)
def test_the_pods_share_the_databases_connections(
    cli: Cli, options: tuple[str, ...], most: str
) -> None:
    config_map, _ = printed(cli, *options)
    assert config_map["data"]["DB_POOL_MAX"] == most


@pytest.mark.usefixtures("api")
def test_more_pods_than_connections_are_refused(cli: Cli) -> None:
    refused = cli("db", "env", "shop", "--kubernetes", "--replicas", "40")
    assert refused.code == 1
    assert "20 connections less 4 in reserve are not one for each of 40 replicas" in refused.err
    assert "through the pooler" in refused.err


@pytest.mark.parametrize(
    ("row", "role", "name"),
    [
        ({"name": "Shop_EU 2"}, None, "shop-eu-2-database"),
        ({"name": "日本"}, None, "tenant-bcdfghjkmnpq-database"),
        ({"name": "shop"}, {"name": "read_only", "max_connections": 10}, "shop-read-only-database"),
        ({"name": "shop", "environment": "staging"}, None, "shop-database-staging"),
        (
            {"name": "shop", "environment": "development"},
            {"name": "staging", "max_connections": 10},
            "shop-staging-database-development",
        ),
    ],
)
def test_the_name_is_one_that_kubernetes_takes(
    row: dict[str, Any], role: dict[str, Any] | None, name: str
) -> None:
    assert kubernetes._default_name(database(**row), role) == name
    options(name=name).check(used=True)


# YAML


@pytest.mark.parametrize(
    "text",
    [
        *(
            "no",
            "NO",
            "on",
            "y",
            "true",
            "null",
            "~",
            "",
            " ",
            "1e3",
            "0123",
            "0o17",
            "0x1F",
            "12:30",
        ),
        *("1_000", ".inf", "2026-12-01", "a: b", "#1", "- a", "*a", "&a", "!a", "%a", "@a", "`a`"),
        *("'", '"', "\\", "{}", "[]", "---", "...", "a\n", "a\nb", "é", "\x85", "\u2028", "\ufeff"),
        *("\x7f", "\0", "😀", "\ud7ff\uffff", "a\r\nb\n", "\n", "a \nb\n", " a\nb\n", "a\n\n"),
    ],
)
def test_a_value_that_yaml_would_read_otherwise_stays_text(text: str) -> None:
    lines = kubernetes._yaml({"key": text, "next": ""})
    assert yaml.safe_load("\n".join(lines)) == {"key": text, "next": ""}


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.from_regex(
    r"\A[-+0-9.eExo_:TZ]{1,12}\Z"
)


@given(texts)
def test_every_value_is_read_as_it_is(text: str) -> None:
    assert yaml.safe_load(kubernetes.quoted(text)) == text
    assert kubernetes._unquoted(kubernetes.quoted(text)) == text


@given(texts.filter(lambda text: text != MASK), texts)
def test_every_password_and_certificate_is_read_as_it_is(password: str, pem: str) -> None:
    written = manifests(password, pem)
    secret = yaml.safe_load(written.secret_text())
    config_map = yaml.safe_load(written.config_map_text())
    assert secret == written.secret()
    assert secret["stringData"]["DB_PASSWORD"] == password
    assert config_map == written.config_map()
    assert config_map["data"]["ca.crt"] == pem
    assert list(secret["stringData"]) == [
        *("DATABASE_URL", "DIRECT_URL", "SHADOW_DATABASE_URL", "PGPASSWORD", "DB_PASSWORD")
    ]
    known = kubernetes.stored_password(written.secret_text(), manifests())
    assert known == (password or None)


def test_a_certificate_cannot_add_lines_of_its_own() -> None:
    written = manifests(pem="-----BEGIN\u2028kind: Secret\x85data: {}\n")
    config_map = yaml.safe_load(written.config_map_text())
    assert (config_map["kind"], list(config_map)) == (
        "ConfigMap",
        ["apiVersion", "kind", "metadata", "data"],
    )


def test_a_certificate_stays_readable() -> None:
    lines = manifests().config_map_text().splitlines()
    start = lines.index("  ca.crt: |")
    assert lines[start + 1 :] == [f"    {line}" for line in PEM.splitlines()]


def test_a_name_cannot_end_its_comment() -> None:
    written = manifests(called=output.plain("shop\nkind: Pod\u2028"))
    assert yaml.safe_load(written.secret_text())["kind"] == "Secret"


# Options


def options(**values: Any) -> kubernetes.Options:
    return kubernetes.Options(
        **({"name": None, "namespace": None, "replicas": None, "ca_file": None} | values)
    )


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--name", each) for each in ("", "Shop", "a_b", "-a", "a-", "a..b", "a.-b", "a" * 254)),
        *(("--name", each) for each in ("a\n", "a/b", "ä")),
        *(("--namespace", each) for each in ("", "Web", "a.b", "-a", "a" * 64, "a\n")),
        *(("--ca-file", each) for each in ("", "ca.crt", "etc/ca.crt")),
    ],
)
def test_what_kubernetes_refuses_is_refused(cli: Cli, option: str, value: str) -> None:
    refused = cli("db", "env", "shop", "--kubernetes", f"{option}={value}")
    assert (refused.code, refused.out) == (1, "")
    assert option in refused.err


@pytest.mark.parametrize("name", ["a", "0", "shop-db.v2", "a" * 253])
def test_what_kubernetes_takes_is_taken(name: str) -> None:
    options(name=name, namespace="a" * 63, ca_file="/ca.crt").check(used=True)


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    "words",
    [("--name", "a"), ("--namespace", "a"), ("--replicas", "2"), ("--ca-file", "/ca.crt")],
)
def test_options_of_kubernetes_are_refused_without_it(cli: Cli, words: tuple[str, str]) -> None:
    refused = cli("db", "env", "shop", *words)
    assert (refused.code, refused.out) == (1, "")
    assert f"{words[0]}: goes with --kubernetes." in refused.err


# Files


def write(cli: Cli, folder: Path, *more: str) -> dict[str, Any]:
    ended = cli("db", "env", "shop", "--kubernetes", "--write", str(folder), "--json", *more)
    assert ended.code == 0, ended.err
    written: dict[str, Any] = json.loads(ended.out)
    return written


@pytest.mark.usefixtures("api")
def test_the_secret_is_its_owners_alone(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "k8s"
    assert write(cli, folder, "--namespace", "web") == {
        "config_map_file": str(folder / "shop-database-configmap.yaml"),
        "secret_file": str(folder / "shop-database-secret.yaml"),
        "name": "shop-database",
        "namespace": "web",
        "password": "unknown",
    }
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"shop-database-configmap.yaml": 0o644, "shop-database-secret.yaml": 0o600}


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("style", ["{0}", '"{0}"', "'{0}'"])
def test_the_only_copy_of_a_password_stays(cli: Cli, tmp_path: Path, style: str) -> None:
    write(cli, tmp_path)
    secret = tmp_path / "shop-database-secret.yaml"
    by_hand = f"PGPASSWORD: {style.format('the-only-copy')}"
    secret.write_text(secret.read_text().replace(f'PGPASSWORD: "{MASK}"', by_hand))
    assert write(cli, tmp_path, "--pooled")["password"] == "kept"
    found = yaml.safe_load(secret.read_text())["stringData"]
    assert (found["PGPASSWORD"], found["DB_PASSWORD"]) == ("the-only-copy", "the-only-copy")
    assert ":the-only-copy@" in found["DATABASE_URL"]
    assert MASK not in secret.read_text()


@pytest.mark.usefixtures("api")
def test_a_given_password_replaces_the_one_there(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for password, state in (("first", "given"), ("second", "given")):
        monkeypatch.setattr("sys.stdin", _Stdin(f"{password}\n"))
        assert write(cli, tmp_path, "--password-stdin")["password"] == state
    text = (tmp_path / "shop-database-secret.yaml").read_text()
    assert "first" not in text
    assert 'DB_PASSWORD: "second"' in text


@pytest.mark.usefixtures("api")
def test_the_password_of_another_login_is_not_taken(cli: Cli, tmp_path: Path) -> None:
    write(cli, tmp_path)
    secret = tmp_path / "shop-database-secret.yaml"
    text = secret.read_text().replace("user_bcdfghjkmnpq", "user_other").replace(MASK, "theirs")
    secret.write_text(text)
    assert write(cli, tmp_path)["password"] == "unknown"
    assert "theirs" not in secret.read_text()


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("name", ["shop-database-configmap.yaml", "shop-database-secret.yaml"])
def test_the_files_of_others_are_not_replaced(cli: Cli, tmp_path: Path, name: str) -> None:
    theirs = "kind: Secret\n"
    (tmp_path / name).write_text(theirs)
    refused = cli("db", "env", "shop", "--kubernetes", "--write", str(tmp_path))
    assert refused.code == 1
    assert f"{name} was not written for shop" in " ".join(refused.err.split())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == theirs
    write(cli, tmp_path, "--replace")
    assert yaml.safe_load((tmp_path / name).read_text())["metadata"] == {"name": "shop-database"}


@pytest.mark.usefixtures("api")
def test_a_role_does_not_replace_the_owner_roles_files(cli: Cli, tmp_path: Path) -> None:
    write(cli, tmp_path)
    words = ("db", "env", "shop", "--kubernetes", "--write", str(tmp_path))
    refused = cli(*words, "--role", "reporting", "--name", "shop-database")
    assert refused.code == 1
    assert write(cli, tmp_path, "--role", "reporting")["name"] == "shop-reporting-database"


@pytest.mark.usefixtures("api")
def test_a_link_is_not_followed(cli: Cli, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("a: b\n")
    (tmp_path / "shop-database-secret.yaml").symlink_to(elsewhere)
    refused = cli("db", "env", "shop", "--kubernetes", "--write", str(tmp_path), "--replace")
    assert refused.code == 1
    assert "is a link" in refused.err
    assert elsewhere.read_text() == "a: b\n"


# The guide


def test_the_guides_deployment_takes_what_the_command_writes() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    deployment = yaml.safe_load(text)
    for version in VERSIONS:
        kubernetes_validate.validate(deployment, version, strict=True)
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    name = manifests().name
    assert container["envFrom"] == [
        {"configMapRef": {"name": name}},
        {"secretRef": {"name": name}},
    ]
    [mount], [volume] = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    assert f"{mount['mountPath']}/ca.crt" == kubernetes.CA_IN_CONTAINER
    assert volume["configMap"] == {"name": name, "items": [{"key": "ca.crt", "path": "ca.crt"}]}
