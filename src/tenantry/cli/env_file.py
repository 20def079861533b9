"""``tenantry db env``: the variables with a database's connection, in a ``.env`` file.

The lines of one database, or of one role of it, stand between two marks, and this command changes
only those. All other lines stay unchanged, except that --replace takes over lines that set the same
variable, and reports them. A password in the file may be the only copy: it is preserved until
another one is given.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from tenantry.base.connection_strings import CA_FILE, MASK, Login
from tenantry.base.errors import Conflict, InvalidInput, MachineError
from tenantry.cli import connecting, kubernetes, output
from tenantry.cli.client import connect
from tenantry.cli.connecting import read_password, strings_of
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, find_role, title
from tenantry.cli.variables import Wanted
from tenantry.host import files

_BEGIN, _END = "# begin tenantry", "# end tenantry"
_HEAD = "# Written by `tenantry db env`, which replaces all up to the end mark."
_ASSIGNMENT = r"(?s)\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_NOTES = {
    "kept": "The password in it is the one that it had.",
    "unknown": f"The password is not known: put it in place of {MASK}, or give it "
    "by --password-stdin.",
}
_BARE = r"[A-Za-z0-9_./:@%+,-]+"


def env(
    database: Named,
    *,
    write: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the files into this folder.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Add variables with this prefix: DB_ for DB_HOST, DB_PORT, …")
    ] = None,
    pooled: Annotated[
        bool, typer.Option("--pooled", help="Have PGHOST and the like lead through PgBouncer.")
    ] = False,
    password_stdin: connecting.PasswordStdin = False,
    role: connecting.AsRole = None,
    replace_lines: Annotated[
        bool, typer.Option("--replace", help="Replace what others set: lines in .env, or files.")
    ] = False,
    as_kubernetes: kubernetes.Kubernetes = False,
    name: kubernetes.Name = None,
    namespace: kubernetes.Namespace = None,
    replicas: kubernetes.Replicas = None,
    ca_file: kubernetes.CaFile = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Print the variables with which programs connect to a database, or write them into .env.

    Examples:

        tenantry db env shop --write . --password-stdin < password

        tenantry db env shop --write /srv/shop --prefix DB_

        tenantry db env shop --kubernetes --pooled --password-stdin < password | kubectl apply -f -
    """
    _check(prefix, write, replace_lines=replace_lines)
    options = kubernetes.Options(name, namespace, replicas, ca_file)
    options.check(used=as_kubernetes)
    with connect() as api:
        row = find(api, database, env)
        strings = strings_of(api, row, role)
        role_row = find_role(api, row, role) if as_kubernetes and role else None
        ca = connecting.authority(api)
        pem = ca.read_text()
    password = read_password() if password_stdin else MASK
    if as_kubernetes:
        place, prefix = ca_file or kubernetes.CA_IN_CONTAINER, prefix or kubernetes.PREFIX
        wanted = Wanted(strings, place, password, prefix=prefix, pooled=pooled)
        manifests = kubernetes.Manifests.of(row, role_row, wanted, pem, options)
        kubernetes.emit(manifests, write, replace_files=replace_lines, as_json=as_json)
        return
    ca = ca if write is None else write.absolute() / CA_FILE
    wanted = Wanted(strings, str(ca), password, prefix=prefix or "", pooled=pooled)
    if write is None:
        _print(wanted.variables(), as_json=as_json)
        return
    written = _write(write.absolute(), wanted, title(row), pem, replace_lines=replace_lines)
    _report(written, title(row), as_json=as_json)


def _check(prefix: str | None, write: Path | None, *, replace_lines: bool) -> None:
    """Raise InvalidInput for options that have no meaning."""
    if prefix is not None and not re.fullmatch(_NAME, prefix):
        raise InvalidInput.of("--prefix", "is letters, digits and underscores, no digit first.")
    if replace_lines and write is None:
        raise InvalidInput.of("--replace", "goes with --write.")


def _report(written: "Written", called: str, *, as_json: bool) -> None:
    if as_json:
        output.as_json(asdict(written))
        return
    output.done(f"{written.env_file} and {written.ca_file} lead to {called}")
    if written.replaced:
        output.note(f"Replaced what was set before: {', '.join(written.replaced)}")
    if note := _NOTES.get(written.password):
        output.note(note)


@dataclass(frozen=True, slots=True)
class Written:
    """The files written; ``replaced`` names the variables that other lines had set."""

    env_file: str
    ca_file: str
    variables: list[str]
    replaced: list[str]
    password: Literal["given", "kept", "unknown"]


def _print(variables: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        output.as_json(variables)
        return
    for line in _lines(variables):
        output.line(line)


def _write(folder: Path, wanted: Wanted, called: str, pem: str, *, replace_lines: bool) -> Written:
    """Write both files, the certificate first, so that .env never names a missing file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        env_file, ca_file = folder / ".env", folder / CA_FILE
        before = files.read_if_no_link(env_file)
        own = own_lines(before, wanted.mark)
        if not (own or replace_lines) and files.read_if_no_link(ca_file) not in {"", pem}:
            raise Conflict(
                f"{ca_file} is another certificate.", hint="Choose another folder, or --replace it."
            )
        given = wanted.password != MASK
        known = stored_password(own, wanted)
        wanted = wanted if given or known is None else replace(wanted, password=known)
        text, replaced = merged(before, wanted, called, replace_lines=replace_lines)
        owner = files.owner_as_root(env_file)
        files.write_atomically(ca_file, pem, mode=0o644, owner=owner)
        files.write_atomically(env_file, text, owner=owner)
    except OSError as error:
        raise MachineError(f"{error.filename or folder}: {error.strerror}.") from None
    return Written(
        env_file=str(env_file),
        ca_file=str(ca_file),
        variables=list(wanted.variables()),
        replaced=replaced,
        password="given" if given else "unknown" if known is None else "kept",
    )


# ── the file's text ──────────────────────────────────────────────────────────


def merged(
    before: str, wanted: Wanted, called: str, *, replace_lines: bool = False
) -> tuple[str, list[str]]:
    """Return the file with these variables in it, and the names of those that other lines had set.

    Raises Conflict with those names if they are not to be replaced.
    """
    variables = wanted.variables()
    block = [
        f"{_BEGIN} {wanted.mark}: {output.plain(called)}",
        _HEAD,
        *_lines(variables),
        _END,
    ]
    lines = _split(before)
    first, last = _own_range(lines, wanted.mark)
    above, below = lines[:first], lines[last:]
    theirs = {name for line in (*above, *below) if (name := _assigned(line)) in variables}
    if theirs and not replace_lines:
        raise Conflict(
            f"The file sets {', '.join(sorted(theirs))} already, in lines of somebody else's.",
            hint="Choose another folder, or let --replace take those lines out.",
        )
    if theirs:
        above, below = _without(above, variables), _without(below, variables)
    if above and above[-1].strip():
        above.append("")
    return "\n".join([*above, *block, *below, ""]), sorted(theirs)


def _split(text: str) -> list[str]:
    """Return the lines of a text, split at newlines only; none for an empty text."""
    return text.removesuffix("\n").split("\n") if text else []


def _without(lines: list[str], variables: Container[str]) -> list[str]:
    """Return the lines that set other variables; the rest of another block loses its marks.

    Raises Conflict for a value that continues on the next line: removing only its first line would
    break the file.
    """
    for line in lines:
        found = re.fullmatch(_ASSIGNMENT, line)
        if found is None or found[1] not in variables:
            continue
        value = found[2].strip()
        if value[:1] in {'"', "'"} and value.count(value[0]) == 1:
            raise Conflict(
                f"The value of {found[1]} goes over several lines, which stay as they are.",
                hint="Take them out, or choose another folder.",
            )
    return [
        line
        for line in lines
        if _assigned(line) not in variables and not line.startswith((_BEGIN, _HEAD, _END))
    ]


def own_lines(text: str, mark: str) -> list[str]:
    """Return the lines that this command has written for this database or role."""
    lines = _split(text)
    first, last = _own_range(lines, mark)
    return lines[first:last]


def _own_range(lines: list[str], mark: str) -> tuple[int, int]:
    """Return where those lines begin and end.

    Both are at the file's end if there are none, or if the end mark is missing.
    """
    begin = f"{_BEGIN} {mark}:"
    for first, line in enumerate(lines):
        if line.startswith(begin):
            for last in range(first + 1, len(lines)):
                if lines[last].rstrip() == _END:
                    return first, last + 1
                if lines[last].startswith(_BEGIN):
                    break
    return len(lines), len(lines)


def stored_password(own: Iterable[str], wanted: Wanted) -> str | None:
    """Return the password that the file already has for the same login, or None."""
    held = {
        found[1]: _unquoted(found[2]) for line in own if (found := re.fullmatch(_ASSIGNMENT, line))
    }
    if held.get("PGUSER") != wanted.variables()["PGUSER"]:
        return None
    for password in (held.get("PGPASSWORD"), Login.parse(held.get("DATABASE_URL", "")).password):
        if password and password != MASK:
            return password
    return None


def _assigned(line: str) -> str | None:
    """Return the variable that a line sets, or None."""
    found = re.fullmatch(_ASSIGNMENT, line)
    return found[1] if found else None


def _lines(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={_quoted(value)}" for name, value in variables.items()]


def _quoted(value: str) -> str:
    """Return a value quoted so that a shell, dotenv, systemd and Docker Compose read it alike."""
    if re.fullmatch(_BARE, value):
        return value
    if value.isprintable() and "'" not in value:
        return f"'{value}'"
    if value.isprintable() and not set(value) & set('"\\$`'):
        return f'"{value}"'
    raise InvalidInput("No .env file can hold a value with both kinds of quotation marks in it.")


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if text[:1] in {'"', "'"} else text
