"""The service for blueprints: list them, apply one to a database, and compare both."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import psycopg
import structlog

from tenantry.base.errors import Conflict, InvalidInput, TenantryError, Unavailable
from tenantry.base.secrets import Secret
from tenantry.base.shares import Shares
from tenantry.base.suggestions import did_you_mean
from tenantry.control import audit, migration_runs
from tenantry.control import blueprints as rows
from tenantry.control import roles as role_rows
from tenantry.control.audit import Actor
from tenantry.control.blueprints import BlueprintRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import descriptions, extensions, statements
from tenantry.pg.connections import QuietConnection
from tenantry.pg.descriptions import Description
from tenantry.pg.long_statements import bounded
from tenantry.services.blueprints import model, plan
from tenantry.services.blueprints.flow import APPLY, ApplyParams, BlueprintFlow
from tenantry.services.blueprints.model import (
    MANIFEST,
    BadBlueprint,
    Blueprint,
    BlueprintNotFound,
    Chosen,
    Compared,
    Standing,
    Started,
    Wanted,
)
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.data_api.steps import prepare
from tenantry.services.databases.model import Opened
from tenantry.services.databases.plan import statement_seconds
from tenantry.services.databases.scratch import scratch
from tenantry.services.databases.service import Databases
from tenantry.services.migrations import service as runner
from tenantry.services.operations.service import Operations
from tenantry.services.roles.model import OpenedRole
from tenantry.services.roles.service import Roles
from tenantry.services.tenant_migrations.model import STATEMENT_SECONDS
from tenantry.services.tenant_migrations.service import TenantMigrations
from tenantry.services.tenant_migrations.visits import in_words

log = structlog.get_logger()

_COMPARED_AT_ONCE = 8
_COMPARE_SECONDS = 30

Passwords = Callable[[int], Secret]  # of the first, second … role that is created


class Catalogue:
    """All blueprints by name: Tenantry's own, and those of an optional second folder."""

    def __init__(self, beside: Path | None) -> None:
        self._folders: list[Path | Traversable] = [
            resources.files("tenantry.services.blueprints") / "catalogue"
        ]
        if beside is not None:
            self._folders.append(beside)

    def every(self) -> list[Blueprint]:
        """Return all of them by name. Invalid ones are logged and omitted."""
        found: dict[str, Blueprint] = {}
        for folder in self._folders:
            for name in _names(folder):
                try:
                    found.setdefault(name, model.parse(name, model.read(folder / name)))
                except BadBlueprint as error:
                    log.warning("blueprint.broken", blueprint=name, error=str(error))
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> Blueprint:
        """Return a blueprint. Raises BlueprintNotFound, and BadBlueprint if it is invalid."""
        names: list[str] = []
        for folder in self._folders:
            found = _names(folder)
            if model.NAME.fullmatch(name) and name in found:
                return model.parse(name, model.read(folder / name))
            names += found
        raise BlueprintNotFound(
            f"There is no blueprint {name}.",
            hint=did_you_mean(name, names) or "GET /api/blueprints lists them.",
        )


def _names(folder: Path | Traversable) -> list[str]:
    """Return the names of the blueprints in a folder."""
    try:
        return [each.name for each in folder.iterdir() if (each / MANIFEST).is_file()]
    except OSError as error:
        log.warning("blueprints.unreadable", folder=str(folder), error=str(error))
        return []


class Blueprints:
    """The service for blueprints."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        databases: Databases,
        roles: Roles,
        *,
        migrations: TenantMigrations,
        operations: Operations,
        applying: BlueprintFlow,
        beside: Path | None,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._roles = roles
        self._migrations = migrations
        self._operations = operations
        self._catalogue = Catalogue(beside)
        self._comparing = Shares(each=1, total=_COMPARED_AT_ONCE)
        operations.register(applying.flow)

    async def every(self) -> list[Blueprint]:
        """Return all blueprints of the catalogue by name."""
        return await statements.aside(self._catalogue.every)

    async def show(self, name: str) -> Blueprint:
        """Return a blueprint of the catalogue. Raises BlueprintNotFound, BadBlueprint."""
        return await statements.aside(partial(self._catalogue.find, name))

    # ── applying one to a database ───────────────────────────────────────────

    async def choose(self, reference: str, seeds: str | None) -> Chosen:
        """Return the blueprint for a new database. Raises InvalidInput if it is not available."""
        name, number = plan.read_reference(reference)
        try:
            blueprint = await self.show(name)
        except BlueprintNotFound as error:
            raise _on_field(error) from None
        cluster, *_ = await self._clusters.with_databases()
        return await self._checked(cluster.id, blueprint, number, seeds)

    async def begin(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        wanted: Wanted,
        password: Passwords,
    ) -> Started:
        """Begin to bring a database to a version, from none or from an earlier one.

        Raises NotFound, InvalidInput, DirtyDatabase, ForeignMigrations, BlueprintBackwards, and
        Conflict.
        """
        database = await self._databases.lock_there(tx, actor, database_id)
        has = await rows.find(tx, database.id)
        blueprint, number = await self._named(wanted, has)
        chosen = replace(
            await self._checked(database.cluster_id, blueprint, number, wanted.seeds),
            statement_seconds=wanted.statement_seconds,
        )
        stands = await self._migrations.status(actor, database.id)
        has_it = has is not None and has.name == blueprint.name
        plan.check_way(blueprint, chosen.version, stands, has_it=has_it)
        return await self.give(tx, actor, database, chosen, password)

    async def _named(
        self, wanted: Wanted, has: BlueprintRow | None
    ) -> tuple[Blueprint, int | None]:
        if wanted.own is not None:
            if await self._is_in_catalogue(wanted.own.name):
                raise InvalidInput.of(
                    "blueprint",
                    f"{wanted.own.name} is one of the platform's own; give yours another name",
                )
            return await _own(wanted.own.name, wanted.own.files), wanted.version
        name, number = (
            (None, None) if wanted.reference is None else plan.read_reference(wanted.reference)
        )
        if number is not None and wanted.version is not None:
            raise InvalidInput.of("version", "is said twice")
        if name is None and has is None:
            raise BlueprintNotFound(
                "This database has no blueprint.", hint="Say which it shall have."
            )
        try:
            return await self._of(has, name), number or wanted.version
        except BlueprintNotFound as error:
            raise _on_field(error) from None

    async def _of(self, has: BlueprintRow | None, name: str | None) -> Blueprint:
        """Return the blueprint of this name; for None, the database's current one."""
        if has is not None and name in {None, has.name}:
            if has.files is not None:
                return await _own(has.name, has.files)
            return await self.show(has.name)
        return await self.show(name or "")

    async def _is_in_catalogue(self, name: str) -> bool:
        try:
            await self.show(name)
        except BlueprintNotFound:
            return False
        except BadBlueprint:
            return True
        return True

    async def _checked(
        self, cluster_id: uuid.UUID, blueprint: Blueprint, number: int | None, seeds: str | None
    ) -> Chosen:
        version = plan.version(blueprint, number)
        if seeds is not None and seeds not in blueprint.seeds:
            known = ", ".join(blueprint.seeds) or "none"
            raise InvalidInput.of("seeds", f"{blueprint.name} has no {seeds}; it has {known}")
        if blueprint.extensions:
            async with self._clusters.connection(cluster_id) as server:
                there = {each.name: each.installable for each in await extensions.every(server)}
            for name in blueprint.extensions:
                if not there.get(name):
                    raise InvalidInput.of(
                        "blueprint",
                        f"{blueprint.name} needs the extension {name}, which this server "
                        + ("offers to nobody" if name in there else "does not have"),
                        code="unavailable_extension",
                    )
        return Chosen(blueprint, version, seeds)

    async def give(
        self, tx: Tx, actor: Actor, database: DatabaseRow, chosen: Chosen, password: Passwords
    ) -> Started:
        """Begin to apply the chosen blueprint to a database locked by ``tx``. Raises Conflict."""
        blueprint, version = chosen.blueprint, chosen.version
        operation = await self._operations.begin(
            tx,
            actor,
            APPLY,
            ApplyParams(
                blueprint=blueprint.name,
                version=version.number,
                seeds=chosen.seeds,
                own=blueprint.own,
                statement_seconds=statement_seconds(
                    [database], chosen.statement_seconds, usual=STATEMENT_SECONDS
                ),
            ),
            resource_kind="database",
            resource_id=database.id,
            customer_id=database.customer_id,
        )
        await migration_runs.insert(tx, operation.id, blueprint.files)
        # The roles first: their rights on tables that are created later are granted beforehand.
        roles = await self._make_roles(tx, actor, database, blueprint, password)
        await audit.record_on(
            tx,
            actor,
            APPLY.name,
            database,
            result="accepted",
            details={
                "blueprint": blueprint.name,
                "version": version.number,
                "seeds": chosen.seeds,
                "operation_id": str(operation.id),
            },
        )
        return Started(operation, roles)

    async def _make_roles(
        self, tx: Tx, actor: Actor, database: DatabaseRow, blueprint: Blueprint, password: Passwords
    ) -> list[OpenedRole]:
        """Create the blueprint's roles whose names the database does not have."""
        there = {row.name for row in await role_rows.of_database(tx, database.id)}
        wanted = [
            (role, password(number))
            for number, role in enumerate(blueprint.roles)
            if role.name not in there
        ]
        return await self._roles.create_all(tx, actor, database, wanted)

    # ── the state of a database ──────────────────────────────────────────────

    async def standing(self, actor: Actor, database_id: uuid.UUID) -> Standing:
        """Return the blueprint of a database, and its version. Raises NotFound, Conflict."""
        database = await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            has = await rows.find(tx, database.id)
        if has is None:
            raise BlueprintNotFound(
                "This database has no blueprint.",
                hint="POST /api/databases/{id}/blueprint gives it one, of those that "
                "GET /api/blueprints lists.",
            )
        blueprint = await self._of(has, None)
        stands = await self._migrations.status(actor, database.id)
        return Standing(blueprint, plan.version_at(blueprint, stands.state.version), stands)

    async def compare(self, actor: Actor, database_id: uuid.UUID) -> Compared:
        """Return the differences between a database and its blueprint at the same migration.

        The blueprint is applied to a scratch database, as a role of its own. That has application
        users if the blueprint is for them and the database has them: migrations refer to them.
        Raises NotFound, Conflict, Unavailable if it takes too long.
        """
        database = await self._databases.show(actor, database_id)
        standing = await self.standing(actor, database_id)
        blueprint = standing.blueprint
        migration = plan.place(blueprint, standing.state.state)
        try:
            async with (
                self._comparing.place(database.customer_id or database.id, within=_COMPARE_SECONDS),
                asyncio.timeout(_COMPARE_SECONDS),
            ):
                there = await self._described(database, blueprint)
                with_users = plan.has_users(blueprint, there)
                async with scratch(self._store, self._clusters, self._databases) as opened:
                    for role in blueprint.roles:
                        await self._roles.imitate(opened.row, role)
                    if with_users:
                        await prepare(self._clusters, opened.row, (), with_users=True)
                    await self._make(opened, blueprint, migration)
                    made = await self._described(opened.row, blueprint)
        except TimeoutError:
            raise Unavailable(
                f"Making the blueprint and looking at both took more than {_COMPARE_SECONDS} s.",
                hint="Try again when less is going on.",
            ) from None
        made = descriptions.renamed(made, opened.row.username, database.username)
        if with_users:
            made, there = plan.without_users(made), plan.without_users(there)
        return Compared(standing, descriptions.differences(made, there))

    async def _make(self, opened: Opened, blueprint: Blueprint, migration: int) -> None:
        """Run a blueprint's files in a scratch database, as its role, which has no other rights."""
        cluster = await self._clusters.cluster(opened.row.cluster_id)
        try:
            async with (
                # The SQL of a file may catch the cancellation at the deadline of the comparison.
                bounded(cluster.address, opened.row.username, _COMPARE_SECONDS),
                await QuietConnection.connect(
                    cluster.address.conninfo(
                        user=opened.row.username,
                        dbname=opened.row.database_name,
                        search_path="public",
                    ),
                    password=opened.password.reveal(),
                    autocommit=True,
                ) as conn,
            ):
                await runner.goto(conn, blueprint.scripts, migration)
        except (TenantryError, psycopg.Error) as error:
            raise Conflict(
                f"The blueprint cannot be made a second time: {in_words(error).detail}",
                hint="Its files do something else in an empty database of another login.",
            ) from error

    async def _described(self, database: DatabaseRow, blueprint: Blueprint) -> Description:
        cluster = await self._clusters.cluster(database.cluster_id)
        roles = [role.username_in(database) for role in blueprint.roles]
        return await descriptions.read(
            cluster.address, database.database_name, database.username, roles
        )


async def _own(name: str, files: Mapping[str, str]) -> Blueprint:
    return await statements.aside(partial(model.parse, name, files, own=True))


def _on_field(error: BlueprintNotFound) -> InvalidInput:
    return InvalidInput.of("blueprint", f"{error.detail} {error.hint or ''}".strip())
