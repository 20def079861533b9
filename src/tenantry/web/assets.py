"""Style sheet, scripts and icon, each under a name with its digest, so that it never changes.

Scripts of others come from wheels that are pinned in requirements/web-assets.txt.
"""

import gzip
import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from tenantry.base.errors import MachineError

router = APIRouter()

_OWN = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"
_HTMX = "htmx.js"


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
        found[served] = Asset(name, _TYPES[path.suffix], content, gzip.compress(content, mtime=0))
    return found


@cache
def _names() -> dict[str, str]:
    return {asset.name: served for served, asset in _files().items()}


def _sources() -> dict[str, Path]:
    own = {path.name: path for path in sorted(_OWN.iterdir())}
    return own | {_HTMX: _wheel("django_htmx") / "static/django_htmx/htmx-2.min.js"}


def _wheel(package: str) -> Path:
    """Return the folder of an installed package without importing it: what it needs is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MachineError(
            f"The console's package {package} is not installed.", hint="Run ./tenantry up."
        )
    return Path(spec.submodule_search_locations[0])


@router.get("/assets/{name}", include_in_schema=False)
async def serve(request: Request, name: str) -> Response:
    """Return an asset, which browsers may keep."""
    asset = _files().get(name)
    if asset is None:
        raise HTTPException(404, "there is no such file")
    headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.compressed, media_type=asset.media_type, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
