"""The header ``Prefer`` (RFC 7240)."""

from dataclasses import dataclass

CHOICES = {
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "missing": ("default", "null"),
    "return": ("representation", "minimal", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "tx": ("commit", "rollback"),
    "handling": ("strict", "lenient"),
}


@dataclass(frozen=True)
class Preferences:
    """What a client prefers; None where it does not say."""

    resolution: str | None = None
    missing: str | None = None
    representation: str | None = None
    count: str | None = None
    tx: str | None = None
    handling: str | None = None
    timezone: str | None = None
    max_affected: int | None = None
    invalid: tuple[str, ...] = ()

    @property
    def strict(self) -> bool:
        return self.handling == "strict"

    @property
    def counts_rows(self) -> bool:
        return self.count in {"exact", "estimated"}

    def applied(
        self,
        *,
        resolution: bool = False,
        missing: bool = False,
        representation: bool = False,
        max_affected: bool = False,
    ) -> str:
        """The value of Preference-Applied; some preferences only apply to some requests."""
        limit = str(self.max_affected) if self.max_affected is not None and self.strict else None
        parts = (
            ("resolution", self.resolution if resolution else None),
            ("missing", self.missing if missing else None),
            ("return", self.representation if representation else None),
            ("count", self.count),
            ("tx", self.tx),
            ("handling", self.handling),
            ("timezone", self.timezone),
            ("max-affected", limit if max_affected else None),
        )
        return ", ".join(f"{name}={value}" for name, value in parts if value is not None)


def parse_preferences(headers: list[str], *, allow_tx: bool) -> Preferences:
    """Parse all ``Prefer`` headers; of two for the same the first counts."""
    given = [each.strip() for header in headers for each in header.split(",")]
    found: dict[str, str] = {}
    invalid = []
    for preference in given:
        name, equals, value = preference.partition("=")
        if value in CHOICES.get(name, ()) or (equals and name in {"timezone", "max-affected"}):
            found.setdefault(name, value)
        elif preference:
            invalid.append(preference)
    limit = found.get("max-affected", "")
    return Preferences(
        found.get("resolution"),
        found.get("missing"),
        found.get("return"),
        found.get("count"),
        found.get("tx") if allow_tx else None,
        found.get("handling"),
        found.get("timezone"),
        int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 19 else None,  # noqa: PLR2004
        tuple(invalid),
    )
