"""Containers of an engine that speaks Docker's API, on this machine.

Whoever may use the engine can become root: give the platform's user access to it only where the
platform may have that.
"""

import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tenantry.base.errors import MachineError

if TYPE_CHECKING:
    from aiodocker import Docker
    from aiodocker.containers import DockerContainer

_OWNER = "tenantry.owner"  # the label with the folder that a container is of
_SOCKET = "unix:///var/run/docker.sock"
_SECONDS = 60.0  # for one request
_NOT_FOUND = 404
_CONFLICT = 409
_MAPPED = ("name=rootless", "name=userns")  # users inside are others outside


class EngineUnavailable(MachineError):
    """There is no engine, or it does not answer, or its containers cannot be used."""

    code = "engine_unavailable"
    title = "The container engine cannot be used"


class EngineFailed(MachineError):
    """The engine refused a request."""

    code = "engine_failed"
    title = "The container engine refused a request"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container's program ended; ``reason`` is the engine's, "" for an ordinary end."""

    code: int
    reason: str


def address() -> str:
    """Return where the engine listens: ``DOCKER_HOST``, or Docker's own socket."""
    return os.environ.get("DOCKER_HOST") or _SOCKET


@asynccontextmanager
async def engine() -> AsyncIterator["Engine"]:
    """Connect to the engine. Raises EngineUnavailable, also in the block if it is gone meanwhile.

    Raises EngineFailed in the block for what the engine refuses.
    """
    # Commands that use no container do not load it.
    import aiodocker  # noqa: PLC0415
    import aiohttp  # noqa: PLC0415

    _require_socket(address())
    try:
        async with aiodocker.Docker(
            url=address(), timeout=aiohttp.ClientTimeout(total=_SECONDS)
        ) as docker:
            yield Engine(docker)
    except (TimeoutError, aiohttp.ClientError) as error:
        raise _gone(str(error) or "it does not answer") from error
    except aiodocker.DockerError as error:
        if error.status >= 900:  # noqa: PLR2004 (aiodocker's own statuses: no connection)
            raise _gone(error.message) from error
        raise EngineFailed(f"The container engine reports: {error.message}") from error


async def check() -> str:
    """Return the engine's name and version.

    Raises EngineUnavailable with the reason if there is none whose containers can be used.
    """
    async with engine() as found:
        return await found.check()


def _require_socket(where: str) -> None:
    # Folders of this machine are mounted into containers: an engine elsewhere would create empty
    # ones there.
    if not where.startswith("unix://"):
        raise EngineUnavailable(
            f"The container engine at {where} is not reached by a Unix socket.",
            hint="Only an engine on this machine can be used: unset DOCKER_HOST.",
        )
    path = Path(where.removeprefix("unix://"))
    forbidden = EngineUnavailable(
        f"This user may not use the container engine at {path}.",
        hint="Members of the group of that socket may, and can become root by it.",
    )
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except PermissionError:
        raise forbidden from None
    except OSError:
        is_socket = False
    if not is_socket:
        raise EngineUnavailable(
            f"There is no container engine at {path}.",
            hint="Install docker.io, or set DOCKER_HOST to the engine's socket.",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise forbidden


def _gone(reason: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"The container engine does not answer: {reason}",
        hint="Containers that run go on; start the engine again (docker.service).",
    )


class Engine:
    """A connection to the engine. A container has a name, and the folder that it is of: its owner.

    A container of that name and another owner is left alone: each verb raises EngineFailed.
    """

    def __init__(self, docker: "Docker") -> None:
        self._docker = docker

    async def check(self) -> str:
        """Return the engine's name and version. Raises EngineUnavailable if it maps users."""
        info = await self._docker.system.info()
        options = info.get("SecurityOptions") or ()
        if any(each.startswith(_MAPPED) for each in options):
            raise EngineUnavailable(
                "Users in the container engine's containers are others on this machine.",
                hint="Files and the Unix socket's peers need the same ones: use an engine that is "
                "neither rootless nor has userns-remap.",
            )
        return f"Docker {info['ServerVersion']}"

    async def has_image(self, tag: str) -> bool:
        """Whether there is an image of that name and tag."""
        return bool(await self._docker.images.list(filters={"reference": [tag]}))

    async def build(self, tag: str, context: IO[bytes], *, base: str | None) -> None:
        """Build an image of the tar file ``context``, which has a Dockerfile in it.

        Raises EngineFailed if the image ``base``, which it begins with, cannot be fetched.
        """
        import aiodocker  # noqa: PLC0415 (see engine)

        try:
            await self._docker.images.build(fileobj=context, encoding="identity", tag=tag)
        except aiodocker.DockerError as error:
            if base is None:
                raise
            raise EngineFailed(
                f"The image {base} cannot be used: {error.message}",
                hint="Set TENANTRY_POSTGRES_IMAGE to one that docker pull can fetch.",
            ) from error

    async def remove_images(self, pattern: str, *, but: str) -> None:
        """Remove the images with such tags that no container uses, except ``but``."""
        for image in await self._docker.images.list(filters={"reference": [pattern]}):
            for tag in set(image["RepoTags"]) - {but}:
                await _unless(_CONFLICT, self._docker.images.delete(tag))

    async def ensure_network(self, name: str) -> None:
        """Create a network whose containers reach neither each other nor other machines.

        Ports that they publish can be reached.
        """
        known = await self._docker.networks.list(filters={"name": name})
        if any(each["Name"] == name for each in known):
            return
        options = {
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
        }
        network = {"Name": name, "CheckDuplicate": True, "Driver": "bridge", "Options": options}
        await _unless(_CONFLICT, self._docker.networks.create(network))

    async def run(self, name: str, owner: Path, config: Mapping[str, Any]) -> None:
        """Create a container and start it, in the place of a stopped one of this owner."""
        await self.remove(name, owner)
        labelled = {**config, "Labels": {_OWNER: str(owner)}}
        container = await self._docker.containers.create(labelled, name=name)
        try:
            await container.start()
        except BaseException:
            await container.delete(force=True)
            raise

    async def wait(self, name: str, owner: Path) -> int:
        """Return the exit status of a container's program once it has ended; -1 if it is gone."""
        container = await self._owned(name, owner)
        return -1 if container is None else int((await container.wait())["StatusCode"])

    async def ended(self, name: str, owner: Path) -> Exit | None:
        """Return how a container has ended; None while it runs."""
        container = await self._owned(name, owner)
        if container is None:
            return Exit(-1, "it was removed")
        state = container["State"]
        if state["Status"] in {"created", "running", "paused"}:
            return None
        reason = "its memory was used up" if state.get("OOMKilled") else str(state.get("Error", ""))
        return Exit(int(state["ExitCode"]), reason)

    async def update(self, name: str, owner: Path, resources: Mapping[str, Any]) -> None:
        """Change the limits of a running container. Raises EngineFailed if it is gone."""
        container = await self._owned(name, owner)
        if container is None:
            raise EngineFailed(f"There is no container {name} of {owner}.")
        # aiodocker has no function for this request.
        await self._docker._query_json(  # noqa: SLF001
            f"containers/{container.id}/update", method="POST", data=dict(resources)
        )

    async def remove(self, name: str, owner: Path) -> None:
        """Kill and remove a container, if there is one."""
        if (container := await self._owned(name, owner)) is not None:
            await _unless(_NOT_FOUND, container.delete(force=True))

    async def _owned(self, name: str, owner: Path) -> "DockerContainer | None":
        container = await _unless(_NOT_FOUND, self._docker.containers.get(name))
        if container is None:
            return None
        if container["Config"]["Labels"].get(_OWNER) != str(owner):
            raise EngineFailed(
                f"The container {name} belongs to something else.",
                hint=f"Rename or remove it: docker rename {name} OTHER",
            )
        found: DockerContainer = container
        return found


async def _unless(status: int, request: Any) -> Any:
    """Return the answer to a request; None if it is refused with this status."""
    import aiodocker  # noqa: PLC0415 (see engine)

    try:
        return await request
    except aiodocker.DockerError as error:
        if error.status != status:
            raise
        return None
