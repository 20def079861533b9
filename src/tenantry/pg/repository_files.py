"""Files of ours in a repository, beside those of pgBackRest, which stores and encrypts them.

So they are wherever the backups of clusters are, an S3 bucket included, and need no other client.
pgBackRest ignores folders that it does not know. A file that is cut off while it is written has
another name, or is not there at all.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.secrets import Secret
from tenantry.pg.pgbackrest import PgBackRest

_ASK_SECONDS = 30.0
_COPY_SECONDS = 6 * 3600.0  # of one file
_PASSPHRASE = "PGBACKREST_CIPHER_PASS"  # noqa: S105 (the variable, not its value)


@dataclass(frozen=True, slots=True)
class RepositoryFiles:
    """The files in one repository. All methods raise RepositoryError if it does not answer."""

    pgbackrest: PgBackRest
    repository: int

    async def put_text(self, name: str, text: str) -> None:
        """Write a file unencrypted, unlike pgBackRest's own files."""
        await self._run("repo-put", "--raw", name, stdin=text)

    async def text_of(self, name: str) -> str:
        """Return what ``put_text`` wrote."""
        return await self._run("repo-get", "--raw", name)

    async def put(self, name: str, source: Path, key: Secret) -> None:
        """Write a copy of a local file, encrypted. It replaces one of that name."""
        await self._run("repo-put", name, stdin=source, key=key, deadline=_COPY_SECONDS)

    async def fetch(self, name: str, into: Path, key: Secret) -> None:
        """Write a copy of what ``put`` wrote to a new local file."""
        await self._run("repo-get", name, into=into, key=key, deadline=_COPY_SECONDS)

    async def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        await self._run("repo-rm", name)

    async def names(self, folder: str) -> list[str]:
        """Return the names of the files below a folder, in order; none if there is no folder."""
        printed = json.loads(await self._run("repo-ls", "--output=json", "--recurse", folder))
        return sorted(name for name, about in printed.items() if about["type"] == "file")

    async def _run(
        self,
        verb: str,
        *options: str,
        stdin: str | Path | None = None,
        into: Path | None = None,
        key: Secret | None = None,
        deadline: float = _ASK_SECONDS,
    ) -> str:
        done = await self.pgbackrest.run(
            verb,
            None,
            f"--repo={self.repository}",
            *options,
            stdin=stdin,
            into=into,
            env=None if key is None else {_PASSPHRASE: key.reveal()},
            deadline=deadline,
        )
        return done.stdout
