"""Bodies of blueprints."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from tenantry.services.blueprints.model import MANIFEST, Own, Wanted, belongs
from tenantry.services.bodies.fields import (
    BlueprintReference,
    Body,
    Seeds,
    StatementSeconds,
    readable,
)
from tenantry.services.migrations.model import BadMigrations

MOST_FILES = 2000


class BlueprintFile(Body):
    """A file of a custom blueprint's folder, in addition to its manifest."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=300),
        AfterValidator(readable),
        Field(
            description="Its path in the folder.",
            examples=["migrations/000001_create_todos.up.sql"],
        ),
    ]
    sql: Annotated[str, Field(max_length=1024 * 1024)]


class ApplyBlueprint(Body):
    """The blueprint to apply. Default: the newest version of the one that the database has.

    ``manifest`` (the text of a ``blueprint.toml``) and ``files`` define a custom blueprint, whose
    name is ``blueprint``.
    """

    blueprint: BlueprintReference | None = None
    version: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Default: the newest."
    )
    seeds: Seeds | None = None
    statement_timeout_seconds: StatementSeconds = None
    manifest: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None
    files: list[BlueprintFile] = Field(default=[], max_length=MOST_FILES)

    @field_validator("files")
    @classmethod
    def _check_files(cls, files: list[BlueprintFile]) -> list[BlueprintFile]:
        try:
            unexpected = [each.name for each in files if not belongs(each.name)]
        except BadMigrations as error:
            raise ValueError(error.detail) from None
        if unexpected or any(each.name == MANIFEST for each in files):
            raise ValueError(
                f"{(unexpected or [MANIFEST])[0]!r} is none of migrations/…, seeds/….sql and "
                "README.md"
            )
        if len({each.name for each in files}) < len(files):
            raise ValueError("must have different names")
        return files

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.version is not None and self.blueprint is not None and "@" in self.blueprint:
            raise ValueError("the version is said twice")
        if (self.manifest is None) is bool(self.files):
            raise ValueError("manifest and files go together")
        if self.manifest is not None and (self.blueprint is None or "@" in self.blueprint):
            raise ValueError("a folder of one's own needs a name: blueprint, without a version")
        return self

    def wanted(self) -> Wanted:
        if self.manifest is None or self.blueprint is None:
            own, reference = None, self.blueprint
        else:
            files = {MANIFEST: self.manifest} | {each.name: each.sql for each in self.files}
            own, reference = Own(self.blueprint, files), None
        return Wanted(
            reference,
            own=own,
            version=self.version,
            seeds=self.seeds,
            statement_seconds=self.statement_timeout_seconds,
        )
