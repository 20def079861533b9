"""``tenantry db env --kubernetes``: a database's connection as a ConfigMap and a Secret.

The Secret has the password and the URLs that contain it; the ConfigMap of the same name has
everything else, and the certificate of the authority. Containers take both with envFrom. YAML
reads an unquoted ``no``, ``1e3`` or ``0123`` as something other than text, which Kubernetes
refuses: all values are quoted.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from tenantry.base.connection_strings import CA_FILE, MASK, Login
from tenantry.base.errors import Conflict, InvalidInput, MachineError
from tenantry.cli import output
from tenantry.cli.client import Row
from tenantry.cli.finding import title
from tenantry.cli.variables import Wanted
from tenantry.host import files

PREFIX = "DB_"
CA_IN_CONTAINER = f"/etc/tenantry/{CA_FILE}"

Kubernetes = Annotated[
    bool, typer.Option("--kubernetes", help="A ConfigMap and a Secret in place of a .env file.")
]
Name = Annotated[
    str | None,
    typer.Option(
        help="With --kubernetes: the name of both objects; by default, made of the database's.",
        show_default=False,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        help="With --kubernetes: their namespace; by default, kubectl's.", show_default=False
    ),
]
Replicas = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With --kubernetes: how many pods share the connections; by default, 1.",
        show_default=False,
    ),
]
CaFile = Annotated[
    str | None,
    typer.Option(
        help=f"With --kubernetes: where containers mount ca.crt; by default, {CA_IN_CONTAINER}.",
        show_default=False,
    ),
]

_HEAD = "# Written by `tenantry db env --kubernetes`:"
_MASKED = f"# The password is not known: {MASK} stands in its place."
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_LONGEST_LABEL, _LONGEST_NAME = 63, 253  # RFC 1123, as Kubernetes checks names
_POOL_TIMEOUTS = {"POOL_IDLE_TIMEOUT": "600000", "POOL_CONNECTION_TIMEOUT": "30000"}  # ms
_POD_ITSELF = {"localhost", "127.0.0.1", "::1"}
_WORDS = {"v1", "ConfigMap", "Secret", "Opaque"}  # YAML reads them as text without quotes

Object = Mapping[str, "str | Object"]
PasswordState = Literal["given", "kept", "unknown"]


@dataclass(frozen=True, slots=True)
class Options:
    """The options that go with --kubernetes only."""

    name: str | None
    namespace: str | None
    replicas: int | None
    ca_file: str | None

    def check(self, *, used: bool) -> None:
        """Raise InvalidInput for a name that Kubernetes refuses, or if they are not ``used``."""
        for option, value in asdict(self).items():
            if value is not None and not used:
                raise InvalidInput.of(f"--{option.replace('_', '-')}", "goes with --kubernetes.")
        name, namespace = self.name, self.namespace
        if name is not None and not (
            re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", name) and len(name) <= _LONGEST_NAME
        ):
            raise InvalidInput.of(
                "--name",
                f"is at most {_LONGEST_NAME} lower-case letters, digits, '-' and '.', with a "
                "letter or digit at both ends and beside each '.'.",
            )
        if namespace is not None and not (
            re.fullmatch(_LABEL, namespace) and len(namespace) <= _LONGEST_LABEL
        ):
            raise InvalidInput.of(
                "--namespace",
                f"is at most {_LONGEST_LABEL} lower-case letters, digits and '-', with a letter "
                "or digit at both ends.",
            )
        if self.ca_file is not None and not self.ca_file.startswith("/"):
            raise InvalidInput.of("--ca-file", "is an absolute path in the container.")


@dataclass(frozen=True, slots=True)
class Written:
    """The files written, with the name and namespace of the objects in them."""

    config_map_file: str
    secret_file: str
    name: str
    namespace: str | None
    password: PasswordState


@dataclass(frozen=True, slots=True)
class Manifests:
    """A ConfigMap and a Secret of one name; ``called`` is how the database is shown to people."""

    wanted: Wanted
    pem: str
    name: str
    namespace: str | None
    called: str
    pool_max: int

    @classmethod
    def of(
        cls, row: Row, role: Row | None, wanted: Wanted, pem: str, options: Options
    ) -> "Manifests":
        """Return those of a database's owner role, or of an additional role."""
        return cls(
            wanted=wanted,
            pem=pem,
            name=options.name or _default_name(row, role),
            namespace=options.namespace,
            called=output.plain(title(row)),
            pool_max=_pool_max(row, role, replicas=options.replicas or 1, pooled=wanted.pooled),
        )

    def config_map(self) -> Object:
        """Return the ConfigMap as kubectl takes it, as JSON or YAML."""
        pool = {"POOL_MAX": str(self.pool_max), **_POOL_TIMEOUTS}
        data = {name: value for name, value in self._variables() if not _is_secret(name)}
        data |= {f"{self.wanted.prefix}{name}": value for name, value in pool.items()}
        data[CA_FILE] = self.pem
        return {**self._head("ConfigMap"), "data": data}

    def secret(self) -> Object:
        """Return the Secret; stringData has the values as they are, unlike data."""
        data = {name: value for name, value in self._variables() if _is_secret(name)}
        return {**self._head("Secret"), "type": "Opaque", "stringData": data}

    @property
    def mark(self) -> str:
        """Return the line by which the files of this database or role are recognized."""
        return f"{_HEAD} {self.wanted.mark}"

    def config_map_text(self) -> str:
        """Return the ConfigMap's file."""
        return self._text(self.config_map())

    def secret_text(self) -> str:
        """Return the Secret's file."""
        return self._text(self.secret(), *([_MASKED] if self.wanted.password == MASK else []))

    def _text(self, content: Object, *comments: str) -> str:
        lines = [self.mark, f"# {self.called}", *comments, *_yaml(content)]
        return "\n".join([*lines, ""])

    def _head(self, kind: str) -> Object:
        namespace = {} if self.namespace is None else {"namespace": self.namespace}
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": self.name, **namespace}}

    def _variables(self) -> Iterator[tuple[str, str]]:
        return iter(self.wanted.variables().items())


def emit(manifests: Manifests, folder: Path | None, *, replace_files: bool, as_json: bool) -> None:
    """Print the manifests, or write them into ``folder``, and report what does not work yet.

    Raises InvalidInput if kubectl would replace a Secret by one without the password.
    """
    unknown = manifests.wanted.password == MASK
    if folder is None and unknown and not sys.stdout.isatty():
        raise InvalidInput(
            f"The Secret would have {MASK} in place of the password, which is not known, and may"
            " replace one that works.",
            hint="Add --password-stdin, or --write the files into a folder.",
        )
    host = manifests.wanted.variables()["PGHOST"]
    if host in _POD_ITSELF:
        output.note(
            f"The host is {host}, which in a pod is the pod itself: set TENANTRY_DOMAIN to a name "
            "that pods resolve.",
            style="bold yellow",
        )
    if folder is None:
        _print(manifests, as_json=as_json)
        _note("unknown" if unknown else "given")
        return
    written = _write(folder.absolute(), manifests, replace_files=replace_files)
    if as_json:
        output.as_json(asdict(written))
        return
    output.done(f"{written.config_map_file} and {written.secret_file} lead to {manifests.called}")
    _note(written.password)


def _note(password: PasswordState) -> None:
    match password:
        case "kept":
            output.note("The password in the Secret is the one that it had.")
        case "unknown":
            output.note(
                f"The Secret has {MASK} in place of the password, which is not known: do not "
                "apply it. --password-stdin puts the password in.",
                style="bold yellow",
            )
        case "given":
            pass


def _print(manifests: Manifests, *, as_json: bool) -> None:
    if as_json:
        items = [manifests.config_map(), manifests.secret()]
        output.as_json({"apiVersion": "v1", "kind": "List", "items": items})
        return
    for text in (manifests.config_map_text(), "---\n", manifests.secret_text()):
        for line in text.removesuffix("\n").split("\n"):
            output.line(line)


def _write(folder: Path, manifests: Manifests, *, replace_files: bool) -> Written:
    """Write both files. A password in the Secret's may be the only copy: it is preserved."""
    config_map_file = folder / f"{manifests.name}-configmap.yaml"
    secret_file = folder / f"{manifests.name}-secret.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = {path: files.read_if_no_link(path) for path in (config_map_file, secret_file)}
        for path, text in before.items():
            if text and not is_own(text, manifests) and not replace_files:
                raise Conflict(
                    f"{path} was not written for {manifests.called}.",
                    hint="Choose another folder or --name, or --replace it.",
                )
        given = manifests.wanted.password != MASK
        known = stored_password(before[secret_file], manifests)
        if known is not None and not given:
            wanted = replace(manifests.wanted, password=known)
            manifests = replace(manifests, wanted=wanted)
        texts = {
            config_map_file: (manifests.config_map_text(), 0o644),
            secret_file: (manifests.secret_text(), 0o600),
        }
        for path, (text, mode) in texts.items():
            files.write_atomically(path, text, mode=mode, owner=files.owner_as_root(path))
    except OSError as error:
        raise MachineError(f"{error.filename or folder}: {error.strerror}.") from None
    return Written(
        config_map_file=str(config_map_file),
        secret_file=str(secret_file),
        name=manifests.name,
        namespace=manifests.namespace,
        password="given" if given else "unknown" if known is None else "kept",
    )


def is_own(text: str, manifests: Manifests) -> bool:
    """Return whether a file was written by this command for the same database or role."""
    return text.startswith(f"{manifests.mark}\n")


def stored_password(text: str, manifests: Manifests) -> str | None:
    """Return the password that a Secret's file already has for the same login, or None."""
    if not is_own(text, manifests):
        return None
    held = {name: _unquoted(value) for name, value in re.findall(r"(?m)^  (\w+): +(.+)$", text)}
    login = Login.parse(held.get("DATABASE_URL", ""))
    if login.username != Login.parse(manifests.wanted.strings["connection_string"]).username:
        return None
    for password in (held.get("PGPASSWORD"), login.password):
        if password and password != MASK:
            return password
    return None


def _is_secret(name: str) -> bool:
    return name.endswith(("_URL", "PASSWORD"))


def _default_name(row: Row, role: Row | None) -> str:
    """Return the objects' name: shop-database, shop-reporting-database, shop-database-staging."""
    parts = [title(row), *([] if role is None else [str(role["name"])])]
    words = [re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts]
    if not words[0]:
        words[0] = str(row["database_name"]).replace("_", "-")
    environment = str(row["environment"])
    return "-".join([*words, "database", *([] if environment == "production" else [environment])])


def _pool_max(row: Row, role: Row | None, *, replicas: int, pooled: bool) -> int:
    """Return how many connections the pool of each replica should have.

    Further clients of the pooler wait for one of its connections to the server; further sessions
    on PostgreSQL's port are refused.
    """
    limits = row["limits"]
    most = int((limits if role is None else role)["max_connections"])
    if pooled:
        return max(1, min(most, int(limits["pool_size"])) // replicas)
    from tenantry.services.pooling.advice import advise  # noqa: PLC0415 (few commands need it)

    return advise(replicas=replicas, max_connections=most, reserve=most // 5).pool_size


# ── YAML ─────────────────────────────────────────────────────────────────────


def _yaml(content: Object, indent: str = "") -> Iterator[str]:
    """Yield the lines of an object in block style."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(value, f"{indent}  ")
        elif _fits_block(value):
            yield f"{indent}{key}: |"
            yield from (f"{indent}  {line}" for line in value.splitlines())
        else:
            yield f"{indent}{key}: {value if value in _WORDS else quoted(value)}"


def _fits_block(value: str) -> bool:
    """Whether a literal block holds a text as it is; other readers see other ends of lines."""
    return value.endswith("\n") and all(
        re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", line) for line in value[:-1].split("\n")
    )


def quoted(value: str) -> str:
    """Return a text in double quotes, with the escapes that JSON and YAML have in common.

    Characters beyond U+FFFF stand for themselves: JSON escapes each as two, which YAML does not
    join.
    """
    inner = "".join(each if each > "\uffff" else json.dumps(each)[1:-1] for each in value)
    return f'"{inner}"'


def _unquoted(value: str) -> str:
    """Return the text of a value, also of one that was put in by hand."""
    value = value.strip()
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return ""
    return value[1:-1].replace("''", "'") if value.startswith("'") else value
