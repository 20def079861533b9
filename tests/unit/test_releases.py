"""Where a release comes from: what is verified, what is refused, and what is unpacked."""

import hashlib
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.cli import release_sources
from tenantry.host import releases

NAME = "tenantry-9.1.0-py3-none-any.whl"
OTHER = "0" * 64
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(name="release")
def _release(tmp_path: Path) -> Path:
    """A folder with a release of version 9.1.0."""
    folder = tmp_path / "release"
    folder.mkdir()
    write_wheel(folder / NAME)
    (folder / "SHA256SUMS").write_text(
        f"{OTHER}  tenantry_9.1.0_all.deb\n{hash_of(folder / NAME)}  {NAME}\n"
    )
    return folder


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place


def write_wheel(path: Path, **more: str) -> None:
    files = {
        "tenantry_release/tenantry": "#!/usr/bin/python3\n",
        "tenantry_release/src/tenantry/__init__.py": '__version__ = "9.1.0"\n',
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, **more}.items():
            wheel.writestr(name, text)


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_checkout_is_installed_from_where_it_is(place: Path) -> None:
    assert release_sources.tree(str(CHECKOUT), None, place) == CHECKOUT
    with pytest.raises(InvalidInput, match="a checkout has no hash"):
        release_sources.tree(str(CHECKOUT), OTHER, place)


@pytest.mark.parametrize("what", ["", NAME])
def test_a_release_is_verified_and_unpacked(release: Path, place: Path, what: str) -> None:
    tree = release_sources.tree(str(release / what), None, place)
    assert tree == place / "tenantry_release"
    assert releases.version_of(tree) == "9.1.0"
    assert list(place.glob("*.whl")) == []


@pytest.mark.parametrize("what", ["", NAME])
def test_one_that_was_changed_is_refused(release: Path, place: Path, what: str) -> None:
    write_wheel(release / NAME, more="x")
    with pytest.raises(InvalidInput, match="was expected") as raised:
        release_sources.tree(str(release / what), None, place)
    assert "nothing was installed" in str(raised.value)
    assert not (place / "tenantry_release").exists()


def test_a_hash_from_elsewhere_is_what_counts(release: Path, place: Path) -> None:
    (release / "SHA256SUMS").write_text(f"{OTHER}  {NAME}\n")
    with pytest.raises(InvalidInput, match="was expected"):
        release_sources.tree(str(release), None, place)
    given = hash_of(release / NAME).upper()
    assert release_sources.tree(str(release), given, place).is_dir()


@pytest.mark.parametrize(
    ("sums", "why"),
    [
        ("", "is not what sha256sum prints"),
        ("<html>", "is not what sha256sum prints"),
        (f"{OTHER}  ../../etc/passwd\n", "lists 0 wheels"),
        (f"{OTHER}  {NAME}\n{OTHER}  tenantry-9.2.0-py3-none-any.whl\n", "lists 2 wheels"),
    ],
)
def test_sums_that_name_no_release_are_refused(
    release: Path, place: Path, sums: str, why: str
) -> None:
    (release / "SHA256SUMS").write_text(sums)
    with pytest.raises(InvalidInput, match=why):
        release_sources.tree(str(release), None, place)


def test_what_cannot_be_verified_is_refused(release: Path, place: Path) -> None:
    (release / "SHA256SUMS").unlink()
    for source in (release, release / NAME):
        with pytest.raises(InvalidInput, match="has no SHA256SUMS") as raised:
            release_sources.tree(str(source), None, place)
        assert "--sha256" in str(raised.value.hint)
    with pytest.raises(InvalidInput, match="64 hexadecimal digits"):
        release_sources.tree(str(release / NAME), "abc", place)


@pytest.mark.parametrize("name", ["nothing", "tenantry_9.1.0_all.deb"])
def test_what_is_no_release_is_refused(release: Path, place: Path, name: str) -> None:
    (release / "tenantry_9.1.0_all.deb").write_text("!<arch>\n")
    with pytest.raises(InvalidInput, match=r"does not exist|is not a wheel"):
        release_sources.tree(str(release / name), None, place)


def test_a_wheel_is_unpacked_below_its_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(place / NAME, **{"../outside": "x", "/etc/outside": "x"})
    releases.unpack(place / NAME, place / "in")
    assert not (place / "outside").exists()
    assert not Path("/etc/outside").exists()
    monkeypatch.setattr(releases, "MOST_BYTES", 10)
    with pytest.raises(InvalidInput, match="too large"):
        releases.unpack(place / NAME, place / "in")
    (place / NAME).write_text("no zip")
    with pytest.raises(InvalidInput, match="is not a wheel"):
        releases.unpack(place / NAME, place / "in")
    with zipfile.ZipFile(place / NAME, "w") as wheel:
        wheel.writestr("other/file", "")
    with pytest.raises(InvalidInput, match="is not a release"):
        releases.unpack(place / NAME, place / "none")


def test_a_release_that_cannot_take_over_is_refused(release: Path, place: Path) -> None:
    tree = release_sources.tree(str(release), None, place)
    with pytest.raises(InvalidInput, match=r"9\.1\.0 has no self-update"):
        releases.require_updatable(tree)
    releases.require_updatable(CHECKOUT)


# ---- by URL


Serve = Callable[[dict[str, httpx.Response]], None]


@pytest.fixture(name="serve")
def _serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Answer these URLs, and no others."""

    def serve(answers: dict[str, httpx.Response]) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            return answers.get(str(request.url), httpx.Response(404))

        client = partial(httpx.Client, transport=httpx.MockTransport(answer))
        monkeypatch.setattr(httpx, "Client", client)

    return serve


def served(release: Path, base: str) -> dict[str, httpx.Response]:
    return {
        f"{base}/{path.name}": httpx.Response(200, content=path.read_bytes())
        for path in release.iterdir()
    }


@pytest.mark.parametrize("what", ["", "/", f"/{NAME}"])
def test_a_release_is_downloaded_and_verified(
    release: Path, place: Path, serve: Serve, what: str
) -> None:
    serve(served(release, "https://example.com/9"))
    tree = release_sources.tree(f"https://example.com/9{what}", None, place)
    assert releases.version_of(tree) == "9.1.0"


def test_a_download_that_was_changed_is_refused(release: Path, place: Path, serve: Serve) -> None:
    answers = served(release, "https://example.com/9")
    answers[f"https://example.com/9/{NAME}"] = httpx.Response(200, content=b"other")
    serve(answers)
    with pytest.raises(InvalidInput, match="was expected"):
        release_sources.tree("https://example.com/9", None, place)


def test_without_tls_a_hash_is_required(release: Path, place: Path, serve: Serve) -> None:
    serve(served(release, "http://example.com/9"))
    with pytest.raises(InvalidInput, match="What HTTP delivers is not verified"):
        release_sources.tree("http://example.com/9", None, place)
    url = f"http://example.com/9/{NAME}"
    assert release_sources.tree(url, hash_of(release / NAME), place).is_dir()


def test_sums_that_came_without_tls_are_refused(release: Path, place: Path, serve: Serve) -> None:
    answers = served(release, "http://example.com/9")
    moved = httpx.Response(302, headers={"location": "http://example.com/9/SHA256SUMS"})
    serve(answers | {"https://example.com/9/SHA256SUMS": moved})
    with pytest.raises(InvalidInput, match="leads to a URL without TLS"):
        release_sources.tree("https://example.com/9", None, place)


def test_a_failed_download_names_the_url_without_its_secrets(place: Path, serve: Serve) -> None:
    serve({})
    with pytest.raises(MachineError) as raised:
        release_sources.tree(f"https://ann:secret@example.com/9/{NAME}?token=secret", None, place)
    assert raised.value.detail == "https://example.com/9/SHA256SUMS answered 404."
    for url in ("ftp://example.com/9", "https:///9", "file:///etc"):
        with pytest.raises(InvalidInput, match="cannot be fetched"):
            release_sources.tree(url, None, place)


def test_a_download_has_a_limit(place: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve({f"https://example.com/{NAME}": httpx.Response(200, content=b"x" * 100)})
    monkeypatch.setattr(releases, "MOST_BYTES", 99)
    with pytest.raises(InvalidInput, match="too large"):
        release_sources.tree(f"https://example.com/{NAME}", OTHER, place)
