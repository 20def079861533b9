"""Style sheet, scripts and icon, each under a name with its digest, so that it never changes.

Scripts of others come from wheels that are pinned in requirements/web-assets.txt.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from tenantry.base.errors import MachineError
from tenantry.host import wheels

router = APIRouter()

_OWN = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"
_HTMX = "htmx.js"
# CodeMirror's modules in the wheel nicegui have digests in their names; these are what they export.
_EDITOR = Path("elements/codemirror/dist")
_CORE, _LANGUAGE = "index.js", re.compile(rb"export\{[^}]*\bas PostgreSQL\b")
_IMPORTED = re.compile(rb"from\"\./([\w-]+\.js)\"")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file for browsers: as it is, and compressed."""

    name: str
    media_type: str
    content: bytes
    compressed: bytes


def url(name: str) -> str:
    """Return the path of an asset, such as ``console.css``."""
    return f"/assets/{_names()[name]}"


@cache
def _files() -> dict[str, Asset]:
    """Return the assets by the name that they are served under. Raises MachineError."""
    found = {}
    for name, path in _sources().items():
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        served = f"{Path(name).stem}.{digest}{path.suffix}"
        found[served] = _asset(name, content)
    return found


def _asset(name: str, content: bytes) -> Asset:
    return Asset(name, _TYPES[Path(name).suffix], content, gzip.compress(content, mtime=0))


@cache
def _names() -> dict[str, str]:
    return {asset.name: served for served, asset in _files().items()}


def _sources() -> dict[str, Path]:
    own = {path.name: path for path in sorted(_OWN.iterdir())}
    return own | {_HTMX: wheels.folder("django_htmx") / "static/django_htmx/htmx-2.min.js"}


@dataclass(frozen=True, slots=True)
class Editor:
    """The editor's modules: the folder that they are served in, and the two to import."""

    folder: str
    core: str
    language: str
    modules: dict[str, Asset]

    @property
    def core_url(self) -> str:
        return f"/assets/{self.folder}/{self.core}"

    @property
    def language_url(self) -> str:
        return f"/assets/{self.folder}/{self.language}"


@cache
def editor() -> Editor | None:
    """Return the editor of SQL; None if it is not installed: a text field does without."""
    try:
        folder = wheels.folder("nicegui") / _EDITOR
        found = {path.name: path.read_bytes() for path in folder.glob("*.js")}
    except (MachineError, OSError):
        return None
    languages = [name for name, content in found.items() if _LANGUAGE.search(content)]
    if len(languages) != 1 or _CORE not in found:
        return None
    needed, following = set[str](), {_CORE, languages[0]}
    while following:
        needed |= following
        imported = {each.decode() for name in following for each in _IMPORTED.findall(found[name])}
        following = imported - needed
    modules = {name: _asset(name, found[name]) for name in sorted(needed)}
    digest = hashlib.sha256(b"".join(each.content for each in modules.values())).hexdigest()[:16]
    return Editor(f"editor.{digest}", _CORE, languages[0], modules)


@router.get("/assets/{folder}/{name}", include_in_schema=False)
async def serve_module(request: Request, folder: str, name: str) -> Response:
    """Return a module of the editor, which names others by their paths beside it."""
    found = editor()
    asset = found.modules.get(name) if found is not None and folder == found.folder else None
    return _served(request, asset)


@router.get("/assets/{name}", include_in_schema=False)
async def serve(request: Request, name: str) -> Response:
    """Return an asset, which browsers may keep."""
    return _served(request, _files().get(name))


def _served(request: Request, asset: Asset | None) -> Response:
    if asset is None:
        raise HTTPException(404, "there is no such file")
    headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.compressed, media_type=asset.media_type, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
