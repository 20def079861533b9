"""Cross-origin requests of browsers."""

from tenantry_rest.request.model import HttpRequest

Headers = list[tuple[str, str]]
METHODS = "GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD"
SIMPLE_HEADERS = ("Accept", "Accept-Language", "Content-Language")
EXPOSED = (
    "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, "
    "Transfer-Encoding, Range-Unit"
)
MAX_AGE = 24 * 3600  # seconds


def _origin(http: HttpRequest, allowed: tuple[str, ...]) -> Headers:
    origin = http.header("origin")
    if origin is None or (allowed and origin not in allowed):
        return []
    if not allowed:
        return [("Access-Control-Allow-Origin", "*")]
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
    ]


def preflight(http: HttpRequest, allowed: tuple[str, ...]) -> Headers | None:
    """The headers that answer a browser's question whether it may ask; None if it is none."""
    found = _origin(http, allowed)
    wanted = http.header("access-control-request-method")
    if http.method != "OPTIONS" or not found or wanted is None:
        return None
    given = http.header("access-control-request-headers") or ""
    asked = [each.strip() for each in given.split(",") if each.strip()]
    headers = ", ".join(dict.fromkeys(["Authorization", *asked, *SIMPLE_HEADERS]))
    return [
        *found,
        ("Access-Control-Allow-Methods", METHODS),
        ("Access-Control-Allow-Headers", headers),
        ("Access-Control-Max-Age", str(MAX_AGE)),
    ]


def exposing(http: HttpRequest, allowed: tuple[str, ...]) -> Headers:
    """The headers that let a browser's script read an answer."""
    found = _origin(http, allowed)
    return [*found, ("Access-Control-Expose-Headers", EXPOSED)] if found else []
