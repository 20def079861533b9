"""A release from where it is named: a checkout, a folder, a wheel, or the URL of one of these.

What is downloaded or unpacked is verified first, against the SHA256SUMS beside it or a hash that
the caller got elsewhere. Without the latter, a URL has to be HTTPS: who answers it chooses both.
"""

import shutil
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.host import releases

_MOST_SUMS = 1 << 16
_MOST_REDIRECTS = 5
_SECONDS = httpx.Timeout(30.0)
_UNVERIFIED = "Give the SHA-256 of the wheel with --sha256, or name a folder with SHA256SUMS."


def tree(source: str, sha256: str | None, folder: Path) -> Path:
    """Return the folder to install from, which is ``source`` itself or below ``folder``.

    Raises InvalidInput if it cannot be verified, or is no release; MachineError if it cannot be
    fetched.
    """
    expected = None if sha256 is None else releases.hash_of(sha256)
    if "://" in source:
        wheel, expected = _download(source, expected, folder)
    else:
        place = Path(source).expanduser().absolute()
        if releases.is_tree(place):
            if expected is not None:
                raise InvalidInput("--sha256 is for a wheel; a checkout has no hash.")
            return place
        wheel, expected = _local(place, expected)
        # Not the file itself, which may change after it was verified.
        wheel = Path(shutil.copyfile(wheel, folder / wheel.name))
    releases.verify(wheel, expected)
    found = releases.unpack(wheel, folder)
    wheel.unlink()
    return found


def _local(place: Path, expected: str | None) -> tuple[Path, str]:
    """Return the wheel in or at ``place``, and the hash that it has to have."""
    if place.is_dir():
        return _listed(place, None, expected)
    if not place.is_file():
        raise InvalidInput(
            f"{place} does not exist.",
            hint="Name a checkout, a folder with a release, a wheel, or a URL.",
        )
    if not releases.is_wheel(place.name):
        raise InvalidInput(
            f"{place} is not a wheel of Tenantry.",
            hint="A Debian package is installed by apt; then: sudo /usr/bin/tenantry self-update",
        )
    return (place, expected) if expected else _listed(place.parent, place.name, None)


def _listed(folder: Path, name: str | None, expected: str | None) -> tuple[Path, str]:
    try:
        text = (folder / releases.SUMS).read_text(errors="replace")
    except FileNotFoundError:
        raise InvalidInput(
            f"{folder} is no checkout, and has no {releases.SUMS}.", hint=_UNVERIFIED
        ) from None
    hashes = releases.sums(text)
    wheel = name or releases.only_wheel(hashes)
    return folder / wheel, expected or _hash_in(hashes, wheel)


def _hash_in(hashes: dict[str, str], name: str) -> str:
    if name not in hashes:
        raise InvalidInput(f"{releases.SUMS} does not list {name}.", hint=_UNVERIFIED)
    return hashes[name]


def _download(url: str, expected: str | None, folder: Path) -> tuple[Path, str]:
    """Download the wheel at a URL, or in the folder there. Return it, and its expected hash."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(f"{parts.scheme}:// cannot be fetched.", hint="Use https://.")
    if parts.scheme == "http" and expected is None:
        raise InvalidInput(
            "What HTTP delivers is not verified.", hint=f"Use https://. {_UNVERIFIED}"
        )
    name = parts.path.rpartition("/")[2]
    is_file = releases.is_wheel(name)
    base = url if is_file else parts._replace(path=parts.path.rstrip("/") + "/").geturl()
    with httpx.Client(
        timeout=_SECONDS, follow_redirects=True, max_redirects=_MOST_REDIRECTS
    ) as client:
        if expected is None or not is_file:
            sums = folder / releases.SUMS
            _fetch(client, urljoin(base, releases.SUMS), sums, _MOST_SUMS, secure=expected is None)
            hashes = releases.sums(sums.read_text(errors="replace"))
            name = name if is_file else releases.only_wheel(hashes)
            expected = expected or _hash_in(hashes, name)
        wheel = folder / name
        _fetch(client, urljoin(base, name), wheel, releases.MOST_BYTES, secure=False)
    return wheel, expected


def _fetch(client: httpx.Client, url: str, target: Path, most: int, *, secure: bool) -> None:
    """Download a file. ``secure``: over HTTPS alone, whatever the server redirects to.

    Raises MachineError, and InvalidInput if it is larger than ``most`` bytes or not to be trusted.
    """
    shown = _without_secrets(url)
    size = 0
    try:
        with client.stream("GET", url) as answer, target.open("wb") as file:
            hops = [*answer.history, answer]
            if secure and any(each.url.scheme != "https" for each in hops):
                raise InvalidInput(f"{shown} leads to a URL without TLS.", hint=_UNVERIFIED)
            if not answer.is_success:
                raise MachineError(f"{shown} answered {answer.status_code}.", hint="Check the URL.")
            for part in answer.iter_bytes():
                size += len(part)
                if size > most:
                    raise InvalidInput(f"{shown} is too large for a release.")
                file.write(part)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{shown} is not a URL: {error}.") from None
    except httpx.HTTPError as error:
        raise MachineError(
            f"{shown} cannot be fetched: {error}.",
            hint="Check that this machine reaches it, and run this again.",
        ) from None
    except OSError as error:
        raise MachineError(f"{target} cannot be written: {error.strerror}.") from None


def _without_secrets(url: str) -> str:
    """Return a URL without its user, password and query, which may be secret."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
