"""/api/blueprints and /api/databases/{id}/blueprint"""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from tenantry.api import answers, database_answers
from tenantry.api.answers import Answer, Listing, Operation
from tenantry.api.database_answers import OpenedRole
from tenantry.api.deps import CurrentPlatform, DatabaseId, calling
from tenantry.services.blueprints.model import Blueprint as Known
from tenantry.services.blueprints.model import Standing, Started
from tenantry.services.bodies.blueprints import ApplyBlueprint
from tenantry.services.requests.service import Caller

router = APIRouter(tags=["blueprints"])

Reader = Annotated[Caller, calling("databases:read")]
Writer = Annotated[Caller, calling("databases:write")]

Name = Annotated[str, Path(min_length=1, max_length=100, examples=["hosting"])]


class Blueprint(BaseModel):
    """A schema for databases; ``version`` is the newest."""

    name: str = Field(examples=["hosting"])
    title: str = Field(examples=["Hosting platform"])
    description: str
    version: int
    extensions: list[str] = Field(examples=[["pgcrypto"]])
    seeds: list[str] = Field(examples=[["development"]])


class Version(BaseModel):
    """A version of a blueprint: all migrations up to and including ``migration``."""

    version: int
    migration: int
    summary: str


class BlueprintRole(BaseModel):
    """An additional role that the blueprint creates."""

    name: str
    access: Literal["read_only", "read_write"]


class BlueprintDataApi(BaseModel):
    """The data API of databases that are created with the blueprint, from version ``since`` on."""

    schemas: list[str] = Field(examples=[["api"]])
    since: int
    auth: bool = Field(description="Whether it has application users.")


class BlueprintMigration(BaseModel):
    version: int
    title: str


class WholeBlueprint(Blueprint):
    """A blueprint in full; ``isolation`` holds the arguments for ``tenantry_rls check``.

    ``data_api`` is null if new databases have none.
    """

    readme: str
    versions: list[Version]
    roles: list[BlueprintRole]
    data_api: BlueprintDataApi | None
    isolation: dict[str, object]
    migrations: list[BlueprintMigration]


class StandingBlueprint(BaseModel):
    """The blueprint of a database, and its version as read from the database.

    ``version`` is null if no version is complete in it; ``migration`` and ``dirty`` are those of
    its migrations.
    """

    name: str = Field(examples=["hosting"])
    version: int | None
    newest: int
    behind: bool
    migration: int | None
    dirty: bool


class Difference(BaseModel):
    """An object that differs from the blueprint, in PostgreSQL's own notation.

    ``drift`` is false for an object that was created in addition to the blueprint.
    """

    kind: str = Field(examples=["policy"])
    name: str = Field(examples=["sites.tenant_select"])
    status: Literal["missing", "extra", "changed"]
    expected: str | None
    found: str | None
    drift: bool


class Comparison(StandingBlueprint):
    """``drifted`` is whether anything of the blueprint is missing, changed or added to."""

    drifted: bool
    differences: list[Difference]


class AppliedBlueprint(Operation):
    """The operation, with the additional roles that it creates; passwords are shown only once."""

    roles: list[OpenedRole]


def _summary(found: Known) -> dict[str, object]:
    return {
        "name": found.name,
        "title": found.title,
        "description": found.description,
        "version": found.newest.number,
        "extensions": list(found.extensions),
        "seeds": sorted(found.seeds),
    }


def _whole(found: Known) -> WholeBlueprint:
    return WholeBlueprint.model_validate(
        {
            **_summary(found),
            "readme": found.readme,
            "versions": [
                {"version": each.number, "migration": each.migration, "summary": each.summary}
                for each in found.versions
            ],
            "roles": [{"name": each.name, "access": each.access} for each in found.roles],
            "data_api": None if found.data_api is None else asdict(found.data_api),
            "isolation": dict(found.isolation),
            "migrations": [
                {"version": each.version, "title": each.title} for each in found.migrations
            ],
        }
    )


def _standing(found: Standing) -> StandingBlueprint:
    return StandingBlueprint(
        name=found.blueprint.name,
        version=None if found.version is None else found.version.number,
        newest=found.blueprint.newest.number,
        behind=found.behind,
        migration=found.state.state.version,
        dirty=found.state.state.dirty,
    )


@router.get("/api/blueprints", response_model=Listing[Blueprint])
async def index(platform: CurrentPlatform, _caller: Reader) -> Response:
    """List the available blueprints by name."""
    found = await platform.blueprints.every()
    return answers.listing([Blueprint.model_validate(_summary(each)) for each in found])


@router.get("/api/blueprints/{name}", response_model=Answer[WholeBlueprint])
async def show(platform: CurrentPlatform, _caller: Reader, name: Name) -> Response:
    """Return a blueprint: its README, versions, roles, extensions, data API and migrations."""
    return answers.answer(_whole(await platform.blueprints.show(name)))


@router.get("/api/databases/{identifier}/blueprint", response_model=Answer[StandingBlueprint])
async def standing(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """Return the blueprint of a database, its version, and whether there is a newer one."""
    async with caller.visiting():
        found = await platform.blueprints.standing(caller.actor, database_id)
    return answers.answer(_standing(found))


@router.get("/api/databases/{identifier}/blueprint/diff", response_model=Answer[Comparison])
async def compare(platform: CurrentPlatform, caller: Reader, database_id: DatabaseId) -> Response:
    """Compare a database with its blueprint at the database's own version.

    The blueprint is applied to a scratch database for this, which takes a second or two.
    """
    async with caller.visiting():
        found = await platform.blueprints.compare(caller.actor, database_id)
    return answers.answer(
        Comparison(
            **_standing(found.standing).model_dump(),
            drifted=found.drifted,
            differences=[
                Difference.model_validate(each, from_attributes=True) for each in found.differences
            ],
        )
    )


@router.post(
    "/api/databases/{identifier}/blueprint",
    status_code=202,
    response_model=Answer[AppliedBlueprint],
)
async def apply(
    body: ApplyBlueprint,
    platform: CurrentPlatform,
    caller: Writer,
    database_id: DatabaseId,
) -> Response:
    """Apply a blueprint to a database, or upgrade it from an earlier version of the blueprint.

    Migrations run with the rights of the owner role. Missing roles of the blueprint are created.
    """

    started = await caller.idempotent(
        Started,
        lambda tx, secrets: platform.blueprints.begin(
            tx, caller.actor, database_id, body.wanted(), secrets.role_password
        ),
    )
    roles = [database_answers.opened_role(platform.settings, each) for each in started.roles]
    reported = AppliedBlueprint.model_validate(
        answers.operation(started.operation).model_dump() | {"roles": roles}
    )
    response = answers.answer(
        reported, message="The database is being brought to its blueprint.", status=202
    )
    response.headers["Location"] = f"/api/operations/{started.operation.id}"
    return response
