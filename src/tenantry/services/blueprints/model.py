"""A blueprint: a folder of migrations, its manifest, and the errors about it.

A folder holds ``blueprint.toml`` (the manifest), ``README.md``, ``migrations/`` with
golang-migrate's files, and ``seeds/`` with initial rows.

TenantryError
├── InvalidInput
│   └── BadBlueprint             422  the folder's files are no blueprint
├── NotFound
│   └── BlueprintNotFound        404  no such blueprint, or a database that has none
└── Conflict
    ├── ForeignMigrations        409  the database has migrations that are not the blueprint's
    ├── BlueprintBackwards       409  the database is at a later version
    └── SeedsFailed              409  PostgreSQL refused the seeds; the schema is there
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from pglast import ast
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from tenantry.base.errors import Conflict, FieldError, InvalidInput, NotFound
from tenantry.base.secrets import ROLE_PASSWORDS
from tenantry.control.operations import OperationRow
from tenantry.pg import statements
from tenantry.pg.descriptions import Difference
from tenantry.pg.logins import Access
from tenantry.services.data_api.model import check_schema
from tenantry.services.migrations.model import (
    HIGHEST_VERSION,
    BadMigrations,
    Migration,
    Script,
    Status,
)
from tenantry.services.migrations.plan import collect, parse_name
from tenantry.services.roles.model import LONGEST_NAME, ROLE_NAME, NewRole, OpenedRole

MANIFEST = "blueprint.toml"
README = "README.md"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
LONGEST = 63

_MIGRATIONS = "migrations/"
_SEEDS = re.compile(r"seeds/[\w.-]+\.sql", re.ASCII)


class BadBlueprint(InvalidInput):
    code = "bad_blueprint"
    title = "This is no blueprint"

    @classmethod
    def at(cls, where: str, message: str) -> "BadBlueprint":
        """Return the error at ``where``: a file of the folder, or a field of its manifest."""
        return cls(f"{where}: {message}.", fields=(FieldError(where, message),))


class BlueprintNotFound(NotFound):
    code = "blueprint_not_found"
    title = "No such blueprint"


class ForeignMigrations(Conflict):
    code = "foreign_migrations"
    title = "The database has migrations of its own"


class BlueprintBackwards(Conflict):
    code = "blueprint_backwards"
    title = "A blueprint goes forwards only"


class SeedsFailed(Conflict):
    code = "seeds_failed"
    title = "The seeds could not be put in"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a blueprint: all migrations up to and including ``migration``."""

    number: int
    migration: int
    summary: str


@dataclass(frozen=True, slots=True)
class Exposed:
    """A data API, which new databases have from the version ``since`` on.

    ``schemas`` are those that it serves; with ``auth`` it also has application users.
    """

    schemas: tuple[str, ...]
    since: int
    auth: bool


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A validated blueprint. ``own`` is one that is not in the catalogue.

    ``isolation`` holds the arguments of ``tenantry_rls check``. ``seeds`` are files by name.
    """

    name: str
    title: str
    description: str
    readme: str
    extensions: tuple[str, ...]
    versions: tuple[Version, ...]
    roles: tuple[NewRole, ...]
    isolation: Mapping[str, object]
    seeds: Mapping[str, Script]
    migrations: tuple[Migration, ...]
    files: Mapping[str, str] = field(repr=False)
    own: bool = False
    data_api: Exposed | None = None

    @property
    def newest(self) -> Version:
        return self.versions[-1]

    @property
    def scripts(self) -> dict[str, bytes]:
        """Return its migration files by name, as ``runner.goto`` takes them."""
        found = [script for each in self.migrations for script in (each.up, each.down) if script]
        return {script.name: script.sql.encode() for script in found}


@dataclass(frozen=True, slots=True)
class Chosen:
    """An available version of a blueprint, and the seeds to load with it.

    ``statement_seconds`` is how long each statement may run; None for the default.
    """

    blueprint: Blueprint
    version: Version
    seeds: str | None
    statement_seconds: float | None = None

    @property
    def exposed(self) -> Exposed | None:
        """Return the data API that a new database has with it; None if it has none."""
        exposed = self.blueprint.data_api
        if exposed is None or self.version.number < exposed.since:
            return None
        return exposed


@dataclass(frozen=True, slots=True)
class Own:
    """A caller's own blueprint: its files, by their path in its folder."""

    name: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requested blueprint and version of a database.

    ``reference`` is a name, or name@version. None is the database's current blueprint. Without a
    version it is the newest.
    """

    reference: str | None = None
    own: Own | None = None
    version: int | None = None
    seeds: str | None = None
    statement_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The operation that applies a blueprint, and the additional roles that were created for it."""

    operation: OperationRow
    roles: list[OpenedRole]


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a database relative to its blueprint, as read from the database.

    ``version`` is None if no version is complete in it.
    """

    blueprint: Blueprint
    version: Version | None
    state: Status

    @property
    def behind(self) -> bool:
        return self.version != self.blueprint.newest


@dataclass(frozen=True, slots=True)
class Compared:
    """A database compared with its blueprint, up to the migration at which it stands."""

    standing: Standing
    differences: list[Difference]

    @property
    def drifted(self) -> bool:
        return any(each.drift for each in self.differences)


# ── the manifest ─────────────────────────────────────────────────────────────


def _whole(pattern: re.Pattern[str]) -> str:
    # pydantic searches for a pattern anywhere in a text.
    return f"^(?:{pattern.pattern})$"


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Version(_Part):
    migration: Annotated[int, Field(ge=0, le=HIGHEST_VERSION)]
    summary: _Text


class _Role(_Part):
    name: Annotated[str, StringConstraints(pattern=_whole(ROLE_NAME), max_length=LONGEST_NAME)]
    access: Access


class _DataApi(_Part):
    schemas: Annotated[
        list[Annotated[str, AfterValidator(check_schema)]], Field(min_length=1, max_length=20)
    ]
    since: Annotated[int, Field(ge=1)] = 1
    auth: bool = False


class _Manifest(_Part):
    title: _Text
    description: _Text
    extensions: list[Annotated[str, StringConstraints(min_length=1, max_length=63)]] = []
    versions: Annotated[list[_Version], Field(min_length=1)]
    roles: Annotated[list[_Role], Field(max_length=ROLE_PASSWORDS)] = []
    isolation: dict[str, str | bool | list[str]] = {}
    data_api: _DataApi | None = None
    seeds: dict[
        Annotated[str, StringConstraints(pattern=_whole(NAME), max_length=LONGEST)], str
    ] = {}


def _manifest(text: str) -> _Manifest:
    try:
        found = _Manifest.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadBlueprint.at(MANIFEST, f"is not TOML: {error}") from None
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)
        places = [".".join(map(str, each["loc"])) for each in wrong]
        raise BadBlueprint(
            "; ".join(
                f"{MANIFEST}, {place}: {each['msg']}"
                for place, each in zip(places, wrong, strict=True)
            ),
            fields=tuple(
                FieldError(f"{MANIFEST}.{place}", each["msg"])
                for place, each in zip(places, wrong, strict=True)
            ),
        ) from None
    ends = [each.migration for each in found.versions]
    if ends != sorted(set(ends)):
        raise BadBlueprint.at(
            MANIFEST, "each version ends with a later migration than the one before it"
        )
    if len({each.name for each in found.roles}) < len(found.roles):
        raise BadBlueprint.at(MANIFEST, "two roles have the same name")
    return found


# ── the folder ───────────────────────────────────────────────────────────────


def parse(name: str, files: Mapping[str, str], *, own: bool = False) -> Blueprint:
    """Return the blueprint of a folder, given its files by their path in it.

    Files that are not part of a blueprint are ignored. Raises BadBlueprint.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise BadBlueprint.at(
            "name", f"“{name}” may hold lower-case letters, digits and, between them, hyphens"
        )
    if MANIFEST not in files:
        raise BadBlueprint.at(MANIFEST, "is missing")
    manifest = _manifest(files[MANIFEST])
    migrations = _migrations(files)
    there = [each.version for each in migrations]
    if absent := [each.migration for each in manifest.versions if each.migration not in there]:
        raise BadBlueprint.at(MANIFEST, f"there is no migration {absent[0]}")
    if there[-1] != manifest.versions[-1].migration:
        raise BadBlueprint.at(MANIFEST, f"migration {there[-1]} belongs to no version")
    return Blueprint(
        name=name,
        title=manifest.title,
        description=manifest.description,
        readme=files.get(README, ""),
        extensions=tuple(manifest.extensions),
        versions=tuple(
            Version(number, each.migration, each.summary)
            for number, each in enumerate(manifest.versions, 1)
        ),
        roles=tuple(NewRole(each.name, each.access, None) for each in manifest.roles),
        isolation=manifest.isolation,
        seeds={key: _seeds(path, files) for key, path in manifest.seeds.items()},
        migrations=migrations,
        files={path: text for path, text in files.items() if belongs(path)},
        own=own,
        data_api=None
        if manifest.data_api is None
        else Exposed(
            tuple(manifest.data_api.schemas), manifest.data_api.since, manifest.data_api.auth
        ),
    )


def belongs(path: str) -> bool:
    """Whether a file of this path in the folder is part of a blueprint."""
    if path in {MANIFEST, README} or _SEEDS.fullmatch(path):
        return True
    name = path.removeprefix(_MIGRATIONS)
    return name != path and "/" not in name and parse_name(name) is not None


def _migrations(files: Mapping[str, str]) -> tuple[Migration, ...]:
    try:
        found = collect(
            {
                path.removeprefix(_MIGRATIONS): text.encode()
                for path, text in files.items()
                if path.startswith(_MIGRATIONS) and belongs(path)
            }
        )
    except (BadMigrations, UnicodeEncodeError) as error:
        raise BadBlueprint.at("migrations", str(error).rstrip(".")) from None
    if not found:
        raise BadBlueprint.at("migrations", "there is no file like 000001_create_users.up.sql")
    return found


def _seeds(path: str, files: Mapping[str, str]) -> Script:
    """Return a seed file, which has to run as one transaction. Raises BadBlueprint."""
    if not _SEEDS.fullmatch(path) or path not in files:
        raise BadBlueprint.at(MANIFEST, f"there is no file {path} of seeds (seeds/….sql)")
    script = Script(path, files[path])
    try:
        parts = statements.split(script.sql)
    except statements.Unreadable as error:
        raise BadBlueprint.at(path, f"line {error.line}: {error}") from None
    for part in parts:
        if statements.controls_transaction(part) or statements.refuses_transaction(part):
            raise BadBlueprint.at(path, f"line {part.line}: seeds are one transaction")
        if isinstance(part.node, ast.CopyStmt) and part.node.filename is None:
            raise BadBlueprint.at(path, f"line {part.line}: COPY has nobody to talk to; use INSERT")
    return script


def read(folder: Path | Traversable) -> dict[str, str]:
    """Return the files of a blueprint's folder, by their path in it. Raises BadBlueprint."""
    found: dict[str, str] = {}
    try:
        entries = {entry.name: entry for entry in folder.iterdir()}
        for below in ("migrations", "seeds"):
            if below in entries and entries[below].is_dir():
                entries |= {f"{below}/{each.name}": each for each in entries[below].iterdir()}
        for path, entry in entries.items():
            if belongs(path) and entry.is_file():
                found[path] = entry.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise BadBlueprint.at(str(folder), "a file in it is not UTF-8") from None
    except BadMigrations as error:
        raise BadBlueprint.at("migrations", str(error).rstrip(".")) from None
    except OSError as error:
        raise BadBlueprint.at(
            str(error.filename or folder), f"cannot be read: {error.strerror or error}"
        ) from None
    return found
