"""The documentation of a database's API that a browser shows, with Swagger UI.

It works without a network: its files are served from here.
"""

from functools import cache
from pathlib import Path

from tenantry.host import wheels
from tenantry.services.requests.proxies import Scope
from tenantry_rest import Answer

ASSETS = "/docs/assets/"
_FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
# The page asks for the OpenAPI document at its own address, by another Accept; without
# validatorUrl it would show that address to a service on the Internet.
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data API</title>
<link rel="icon" href="{ASSETS}favicon-32x32.png">
<link rel="stylesheet" href="{ASSETS}swagger-ui.css">
</head>
<body>
<div id="documentation"></div>
<script src="{ASSETS}swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({{ url: location.pathname, dom_id: "#documentation", validatorUrl: null }});
</script>
</body>
</html>
""".encode()


def asset(path: str) -> Answer | None:
    """Return a file of the documentation; None if there is none at this path."""
    name = path.removeprefix(ASSETS)
    if not path.startswith(ASSETS) or name not in _FILES:
        return None
    headers = [("Content-Type", _FILES[name]), ("Cache-Control", "max-age=86400")]
    return Answer(200, headers, (_folder() / name).read_bytes())


def page(scope: Scope, path: str) -> Answer | None:
    """Return the documentation, if a browser asks for the root; programs do not name HTML."""
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    if path != "/" or scope["method"] not in {"GET", "HEAD"} or b"text/html" not in accepted:
        return None
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Vary", "Accept")]
    return Answer(200, headers, _PAGE)


@cache
def _folder() -> Path:
    return wheels.swagger_ui()
