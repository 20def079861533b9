"""Format sizes in bytes."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024  # IEC 80000-13


def readable(count: float) -> str:
    """Format a size to four digits: ``12.4 MiB``, ``10 GiB``."""
    unit = 0
    while count >= _STEP and unit < len(_UNITS) - 1:
        count /= _STEP
        unit += 1
    return f"{count:,.4g} {_UNITS[unit]}"
