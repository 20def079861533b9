"""Source packages of a newer Debian (or Ubuntu), fetched and verified by apt.

apt is pointed at a private list of ``deb-src`` sources, made from the machine's
own by changing the suite: the same mirror, the same keys, another release. Its
lists and caches are private too, so the machine's own apt never sees any of it.
"""

import contextlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tenantry.base.errors import MachineError
from tenantry.host import commands

_ETC_APT = Path("/etc/apt")
_SUITES = {"debian": ("sid", "trixie"), "ubuntu": ("devel",)}  # newest first
_ENGLISH = {"LC_ALL": "C"}
_KEPT_OPTIONS = {  # of a source: which keys are trusted. The rest says which binaries to list.
    "signed-by": "Signed-By",
    "trusted": "Trusted",
    "check-valid-until": "Check-Valid-Until",
    "check-date": "Check-Date",
    "allow-insecure": "Allow-Insecure",
    "allow-weak": "Allow-Weak",
}
_ONE_LINE = re.compile(r"deb(?:-src)?\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class AptSource:
    """A source of apt's packages (sources.list(5)); ``options`` say which keys are trusted."""

    uris: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)


# Read the machine's sources, and write ours: pure


def read_one_line(text: str) -> list[AptSource]:
    """Return the sources in a ``.list`` file; other lines are ignored."""
    found = (_ONE_LINE.fullmatch(line.partition("#")[0].strip()) for line in text.splitlines())
    return [_from_line(match) for match in found if match]


def _from_line(match: re.Match[str]) -> AptSource:
    suite, *components = match["rest"].split()
    pairs = (option.partition("=") for option in (match["options"] or "").split())
    options = {key: value.replace(",", " ") for key, _, value in pairs}
    return AptSource(match["uri"], (suite,), tuple(components), _trust(options))


def read_deb822(text: str) -> list[AptSource]:
    """Return the enabled sources in a ``.sources`` file, which may contain multi-line keys."""
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stanzas = (dict(_fields(stanza)) for stanza in re.split(r"\n[ \t]*\n", uncommented))
    return [
        AptSource(
            stanza["uris"],
            tuple(stanza["suites"].split()),
            tuple(stanza.get("components", "").split()),
            _trust(stanza),
        )
        for stanza in stanzas
        if {"uris", "suites"} <= stanza.keys() and stanza.get("enabled", "yes").lower() != "no"
    ]


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE):
        yield match[1].lower(), match[2].rstrip()


def _trust(options: Mapping[str, str]) -> dict[str, str]:
    return {name: options[key] for key, name in _KEPT_OPTIONS.items() if key in options}


def render(sources: list[AptSource], codename: str, suite: str) -> str:
    """Return ``sources`` as ``deb-src`` of another suite, in deb822; "" if none is of the release.

    ``codename`` is the machine's own release: ``bookworm``, ``bookworm-updates`` and
    ``bookworm-security`` become ``trixie``, ``trixie-updates`` and so on; sid and Ubuntu's devel
    have no such additional suites.
    """
    stanzas = {
        _stanza(source, suites)
        for source in sources
        if "main" in source.components and not source.uris.startswith("cdrom:")
        if (suites := list(_other_suites(source.suites, codename, suite)))
    }
    return "\n".join(sorted(stanzas))


def _other_suites(suites: tuple[str, ...], codename: str, suite: str) -> Iterator[str]:
    for own in suites:
        name, dash, side = own.partition("-")
        if name in {codename, "stable"} and not (dash and suite in {"sid", "devel"}):
            yield f"{suite}{dash}{side}"


def _stanza(source: AptSource, suites: list[str]) -> str:
    options = "".join(f"{name}: {value}\n" for name, value in source.options.items())
    return (
        f"Types: deb-src\nURIs: {source.uris}\nSuites: {' '.join(suites)}\n"
        f"Components: main\n{options}"
    )


# Run apt on them


def machine_sources(etc_apt: Path = _ETC_APT) -> list[AptSource]:
    """Return every source of this machine's apt."""
    parts = etc_apt / "sources.list.d"
    lines = [etc_apt / "sources.list", *sorted(parts.glob("*.list"))]
    return [
        *(source for path in lines if path.exists() for source in read_one_line(path.read_text())),
        *(s for path in sorted(parts.glob("*.sources")) for s in read_deb822(path.read_text())),
    ]


@dataclass(frozen=True, slots=True)
class SourcePackages:
    """The source packages of one suite, as apt lists them in ``folder``."""

    folder: Path
    options: tuple[str, ...]

    @classmethod
    async def of(cls, suite: str, folder: Path) -> "SourcePackages":
        """Fetch the suite's lists into ``folder``, which is empty and readable for apt.

        Raises MachineError if no source of this machine provides that suite.
        """
        codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
        text = render(machine_sources(), codename, suite)
        if not text:
            raise MachineError(f"apt's sources on this machine lead to no {suite}.")
        (folder / "suite.sources").write_text(text)
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "cache").mkdir()
        settings = {
            "Dir::Etc::SourceList": folder / "suite.sources",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "0",
            "Acquire::http::Timeout": "20",
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        # A suite without security updates makes apt exit with 100: the lists below decide.
        await commands.run(["apt-get", *options, "update"], env=_ENGLISH, deadline=150, check=False)
        return cls(folder, tuple(options))

    async def newest(self, package: str) -> str:
        """Return the newest version of a source package.

        Raises MachineError if the suite has none, or could not be fetched.
        """
        shown = await commands.run(
            ["apt-cache", *self.options, "showsrc", "--only-source", package],
            env=_ENGLISH,
            check=False,
        )
        newest = ""
        for version in re.findall(r"^Version: (\S+)$", shown.stdout, re.MULTILINE):
            newest = version if await is_newer(version, newest) else newest
        if not newest:
            raise MachineError(f"it has no source package {package}, or cannot be reached.")
        return newest

    async def download(self, package: str, version: str) -> Path:
        """Fetch a source package, each file checked by apt, and return its ``.dsc``.

        Raises MachineError if a file is missing, or does not match the lists.
        """
        await commands.run(
            ["apt-get", *self.options, "source", "--download-only", f"{package}={version}"],
            env=_ENGLISH,
            cwd=self.folder,
            deadline=150,
        )
        return next(self.folder.glob("*.dsc"))


async def is_newer(version: str, than: str) -> bool:
    """Whether a Debian version comes after another; "" comes before all."""
    compared = await commands.run(["dpkg", "--compare-versions", version, "gt", than], check=False)
    return compared.returncode == 0


# Build in a folder of its own


def suites() -> tuple[str, ...]:
    """Return the suites that may have newer sources than this machine's, the newest first."""
    return _SUITES.get(platform.freedesktop_os_release().get("ID", ""), ())


@contextlib.contextmanager
def workshop(engines_dir: Path) -> Iterator[Path]:
    """Create a folder to build in; delete it afterwards, and those that a kill has left."""
    for left in engines_dir.glob("building-*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="building-", dir=engines_dir))
    folder.chmod(0o755)  # apt reads it as its own user
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(engine: Path, place: Path) -> None:
    """Move a finished engine into its place; one there that no longer runs is removed first."""
    if place.exists():
        place.rename(engine.with_name("replaced"))
    os.sync()  # else a power failure could leave the name and lose the contents
    engine.rename(place)
