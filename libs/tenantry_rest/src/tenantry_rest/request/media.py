"""Media types: what a client accepts and sends."""

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
    each.mime
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


def decode_media(given: str) -> Media:
    """The media type that a header names, without parameters that have no meaning here."""
    mime, *parameters = given.split(";")
    mime = mime.lower()
    if mime in {PLAN, f"{PLAN}+text", f"{PLAN}+json"}:
        return _plan("json" if mime.endswith("+json") else "text", parameters)
    stripped = "nulls=stripped" in parameters
    if mime in {OBJECT, OBJECT.removesuffix("+json")}:
        return SINGULAR_STRIPPED if stripped else SINGULAR
    if mime in {ARRAY, ARRAY.removesuffix("+json")}:
        return ARRAY_STRIPPED if stripped else JSON
    return Media(mime) if mime else ANY


def _plan(form: str, parameters: list[str]) -> Media:
    values = dict(each.partition("=")[::2] for each in reversed(parameters))
    of = decode_media(values["for"].strip('"')) if "for" in values else JSON
    asked = values.get("options", "").split("|")
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
