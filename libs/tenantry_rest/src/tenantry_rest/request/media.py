"""Media types: what a client accepts and sends."""

import re
from dataclasses import dataclass

OPTIONS = ("analyze", "verbose", "settings", "buffers", "wal")
PLAN = "application/vnd.pgrst.plan"
OBJECT = "application/vnd.pgrst.object+json"
ARRAY = "application/vnd.pgrst.array+json"
STRIPPED = ";nulls=stripped"


@dataclass(frozen=True)
class Media:
    """A media type by its canonical name; a plan is of another one."""

    mime: str
    plan_of: "Media | None" = None
    plan_format: str = "text"
    plan_options: tuple[str, ...] = ()

    @property
    def is_singular(self) -> bool:
        return self.mime in {OBJECT, OBJECT + STRIPPED}

    @property
    def content_type(self) -> str:
        if self.plan_of is None and self.mime not in KNOWN:
            return self.mime
        return f"{self.mime}; charset=utf-8"


JSON = Media("application/json")
ANY = Media("*/*")
CSV = Media("text/csv")
GEOJSON = Media("application/geo+json")
TEXT = Media("text/plain")
XML = Media("text/xml")
OPENAPI = Media("application/openapi+json")
URLENCODED = Media("application/x-www-form-urlencoded")
OCTETS = Media("application/octet-stream")
SINGULAR = Media(OBJECT)
SINGULAR_STRIPPED = Media(OBJECT + STRIPPED)
ARRAY_STRIPPED = Media(ARRAY + STRIPPED)
KNOWN = {
    each.mime: each
    for each in (
        JSON,
        ANY,
        CSV,
        GEOJSON,
        TEXT,
        XML,
        OPENAPI,
        URLENCODED,
        SINGULAR,
        SINGULAR_STRIPPED,
        ARRAY_STRIPPED,
    )
}


_TYPE = re.compile(r"[\w.*]+/[\w.*+-]+")
_PARAMETER = re.compile(r"""\s*;\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([\w|-]+))""")


def decode_media(given: str) -> Media:
    """The media type that a header names, without parameters that have no meaning here.

    A type that PostgREST does not know is all of the text: parameters and letters count.
    """
    matched = _TYPE.match(given)
    if matched is None:
        return Media(given) if given else ANY
    mime, parameters, end = matched[0].lower(), {}, matched.end()
    while parameter := _PARAMETER.match(given, end):
        name, quoted, plain = parameter.groups()
        parameters[name.lower()] = plain if quoted is None else quoted
        end = parameter.end()
    if mime in {PLAN, f"{PLAN}+text", f"{PLAN}+json"}:
        return _plan("json" if mime.endswith("+json") else "text", parameters)
    stripped = parameters.get("nulls") == "stripped"
    if mime in {OBJECT, OBJECT.removesuffix("+json")}:
        return SINGULAR_STRIPPED if stripped else SINGULAR
    if mime in {ARRAY, ARRAY.removesuffix("+json")}:
        return ARRAY_STRIPPED if stripped else JSON
    return OCTETS if mime == OCTETS.mime else KNOWN.get(mime, Media(given))


def _plan(form: str, parameters: dict[str, str]) -> Media:
    of = decode_media(parameters.get("for", JSON.mime))
    asked = parameters.get("options", "").split("|")
    options = tuple(each for each in OPTIONS if each in asked)
    mime = f'{PLAN}+{form}; for="{of.mime}"'
    if options:
        mime += f"; options={'|'.join(options)}"
    return Media(mime, of, form, options)


def accepted(header: str | None) -> tuple[Media, ...]:
    """The media types that a client accepts, the preferred first."""
    if header is None:
        return (ANY,)
    ranked = []
    for part in _split(header):
        name, _, quality = part.replace(" ", "").partition(";q=")
        ranked.append((_quality(quality), name.count(";") - name.count("*"), name))
    ranked.sort(key=lambda each: each[:2], reverse=True)
    return tuple(decode_media(name) for _, _, name in ranked)


def _split(header: str) -> list[str]:
    """Split at commas outside of quotes."""
    parts, quoted = [""], False
    for char in header:
        quoted ^= char == '"'
        if char == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _quality(text: str) -> float:
    try:
        return float(text.split(";", maxsplit=1)[0]) if text else 1.0
    except ValueError:
        return 1.0
