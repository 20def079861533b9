"""The migrations of a version, the permitted changes of version, and drift. Pure."""

import re

from tenantry.base.errors import InvalidInput
from tenantry.pg.descriptions import Description, Thing
from tenantry.services.blueprints.model import (
    Blueprint,
    BlueprintBackwards,
    ForeignMigrations,
    Version,
)
from tenantry.services.migrations.model import DirtyDatabase, State, Status


def read_reference(text: str) -> tuple[str, int | None]:
    """Split ``hosting`` or ``hosting@2``. Raises InvalidInput if the version is not a number."""
    name, at, version = text.partition("@")
    if not at:
        return name, None
    if not (version.isascii() and version.isdigit()) or len(version) > 9:  # noqa: PLR2004
        raise InvalidInput.of("blueprint", "has a version that is no number, such as hosting@2")
    return name, int(version)


def version(blueprint: Blueprint, number: int | None) -> Version:
    """Return a version of a blueprint, the newest for None. Raises InvalidInput if unknown."""
    if number is None:
        return blueprint.newest
    if not 1 <= number <= len(blueprint.versions):
        raise InvalidInput.of(
            "blueprint",
            f"{blueprint.name} has versions 1 to {len(blueprint.versions)}, and no {number}",
        )
    return blueprint.versions[number - 1]


def version_at(blueprint: Blueprint, migration: int | None) -> Version | None:
    """Return the last version whose migrations are all applied; None if none is."""
    if migration is None:
        return None
    whole = [each for each in blueprint.versions if each.migration <= migration]
    return whole[-1] if whole else None


def is_of(blueprint: Blueprint, stands: Status) -> bool:
    """Whether the migrations that a database has are this blueprint's, some or all of them.

    False for those that golang-migrate ran: it records no hash, so that their origin is unknown.
    """
    here = stands.state.version
    if here is None or here not in {each.version for each in blueprint.migrations}:
        return False
    ours = {m.version: m.up.sha256 for m in blueprint.migrations if m.up and m.version <= here}
    return ours == {number: row.sha256 for number, row in stands.journal.items()}


def check_way(blueprint: Blueprint, wanted: Version, stands: Status, *, has_it: bool) -> None:
    """Check that a database may be brought to a version. ``has_it``: it has the blueprint already.

    Raises DirtyDatabase, ForeignMigrations, BlueprintBackwards.
    """
    state = stands.state
    if state.dirty:
        raise DirtyDatabase(state)
    if state.version is None:
        return
    if not has_it and not is_of(blueprint, stands):
        raise ForeignMigrations(
            f"The database has migrations already, up to version {state.version}, and they are "
            f"not those of {blueprint.name}.",
            hint="schema_migrations is one line, so a database has one blueprint. Make another "
            "database for it, or a blueprint of your own that has both.",
        )
    if state.version > wanted.migration:
        here = version_at(blueprint, state.version)
        raise BlueprintBackwards(
            f"The database is beyond version {wanted.number} of {blueprint.name}: it is at "
            f"migration {state.version}" + (f", which is version {here.number}." if here else "."),
            hint=f"Restore it to a moment before, or make a new database with "
            f"{blueprint.name}@{wanted.number}.",
        )


# ── drift ────────────────────────────────────────────────────────────────────


def place(blueprint: Blueprint, state: State) -> int:
    """Return the migration of the blueprint at which a database stands.

    Raises DirtyDatabase, and ForeignMigrations if the blueprint has no such migration.
    """
    if state.dirty:
        raise DirtyDatabase(state)
    if state.version is None or state.version not in {m.version for m in blueprint.migrations}:
        raise ForeignMigrations(
            f"The database is {state}, which {blueprint.name} does not have.",
            hint="Somebody has migrated it by other files since it got its blueprint.",
        )
    return state.version


def has_users(blueprint: Blueprint, there: Description) -> bool:
    """Whether a blueprint is for application users, and the database has them."""
    exposed = blueprint.data_api
    return exposed is not None and exposed.auth and Thing("table", "auth.users") in there


def without_users(description: Description) -> Description:
    """Return the description without the schema ``auth``, which the data API creates."""
    return {
        thing: definition
        for thing, definition in description.items()
        if re.split(r"[. ]", thing.name)[0] != "auth"
    }
