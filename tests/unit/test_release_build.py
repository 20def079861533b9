"""./release: the same bits from the same commit, and a launcher that works from them alone."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import tenantry
from tenantry.host import releases

CHECKOUT = Path(__file__).parents[2]
VERSION = tenantry.__version__

pytestmark = pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="needs a git clone")


@dataclass
class Built:
    folder: Path
    wheel: Path
    package: Path


def build(folder: Path, **env: str) -> Built:
    done = subprocess.run(
        [CHECKOUT / "release", "--to", folder],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "SHA256SUMS").read_text()
    [wheel], [package] = folder.glob("*.whl"), folder.glob("*.deb")
    return Built(folder, wheel, package)


@pytest.fixture(name="built", scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("first"))


def test_the_same_commit_gives_the_same_bits(built: Built, tmp_path: Path) -> None:
    again = build(tmp_path / "else" / "where", TZ="Asia/Tokyo", SOURCE_DATE_EPOCH="1", LANG="C")
    assert (again.folder / "SHA256SUMS").read_text() == (built.folder / "SHA256SUMS").read_text()
    assert again.package.read_bytes() == built.package.read_bytes()
    assert {path.name for path in again.folder.iterdir()} == {
        f"tenantry-{VERSION}-py3-none-any.whl",
        f"tenantry_{VERSION}_all.deb",
        "SHA256SUMS",
    }


def test_the_sums_are_those_of_sha256sum(built: Built) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=built.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_wheel_alone_gives_a_launcher(built: Built, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    create = ["/usr/bin/python3", "-m", "venv", "--without-pip", str(venv)]
    subprocess.run(create, check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install"]
    words = ["--quiet", "--no-index", "--no-compile", str(built.wheel)]
    subprocess.run([*pip, *words], check=True, capture_output=True)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [venv / "bin" / "tenantry", *words],
            env={"TENANTRY_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("--version").stdout == f"tenantry {VERSION}\n"
    status = run("status")
    nothing = f"Nothing is installed in {tmp_path / 'home'}; run tenantry up\n"
    assert (status.returncode, status.stdout) == (3, nothing)
    assert json.loads(run("status", "--json").stdout) == {"parts": [], "clusters": []}
    assert "  tenantry up [--detach] " in run("--help").stdout


def test_a_release_has_what_the_platform_is_installed_from_and_no_more(
    built: Built, tmp_path: Path
) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[1] for name in names if name.startswith(f"{releases.TREE}/")}
    assert tops == {
        *("CHANGELOG.md", "LICENSE", "__init__.py", "libs", "requirements", "src", "tenantry"),
    }
    assert not [name for name in names if "/tests/" in name or "__pycache__" in name]
    tree = releases.unpack(built.wheel, tmp_path)
    libraries = {path.parent.name for path in tree.glob("libs/*/pyproject.toml")}
    assert libraries == {path.parent.name for path in CHECKOUT.glob("libs/*/pyproject.toml")}
    assert {path.name for path in (tree / "requirements").iterdir()} == {
        *("runtime.txt", "web-assets.txt", "embedder.txt"),
    }


def test_the_debian_package_is_root_s_and_has_a_launcher(built: Built) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", built.package], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {line.split()[1] for line in listed} == {"root/root"}
    modes = {line.split()[5]: line.split()[0] for line in listed}
    assert modes["./usr/lib/tenantry/tenantry"] == "-rwxr-xr-x"
    assert modes["./usr/lib/tenantry/src/tenantry/__init__.py"] == "-rw-r--r--"
    assert [line.partition("./")[2] for line in listed if "->" in line] == [
        "usr/bin/tenantry -> ../lib/tenantry/tenantry"
    ]
    documents = {Path(name).name for name in modes if name.startswith("./usr/share/doc/tenantry/")}
    assert documents >= {"copyright", "CHANGELOG.md", "tenantry.service"}
    fields = subprocess.run(
        ["dpkg-deb", "--field", built.package, "Package", "Version", "Architecture", "Depends"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert fields == (
        f"Package: tenantry\nVersion: {VERSION}\nArchitecture: all\n"
        "Depends: python3 (>= 3.11), python3-venv\n"
    )


def test_a_commit_that_is_not_there_is_reported(tmp_path: Path) -> None:
    done = subprocess.run(
        [CHECKOUT / "release", "--commit", "v0.0.1", "--to", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "There is no commit v0.0.1 in this clone" in done.stderr
    assert "git fetch --tags" in done.stderr
