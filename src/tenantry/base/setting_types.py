"""Types of settings: words, paths and secrets that fit in a line of ``tenantry.env``."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

Port = Annotated[int, Field(ge=1, le=65535)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Rate = Annotated[int, Field(ge=1, le=10_000_000)]
Percent = Annotated[int, Field(ge=1, le=100)]

TIME = r"([01]\d|2[0-3]):[0-5]\d"  # of a day, as a pattern

_WORD = re.compile(r"[A-Za-z0-9._/-]+")
_VISIBLE = re.compile(r"[!-~]+")
_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")


def _whole(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("is not a whole path, from / on")
    return path


def _port_range(text: str) -> str:
    found = _PORTS.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= 65_535:  # noqa: PLR2004 (ports)
        raise ValueError("is not two ports with a - between them, such as 5500-5999")
    return text


def _one_word(word: str) -> str:
    if not _WORD.fullmatch(word):
        raise ValueError("has other than letters, digits and . _ - / in it")
    return word


def _one_line(secret: SecretStr) -> SecretStr:
    if not _VISIBLE.fullmatch(secret.get_secret_value()):
        raise ValueError("is empty, or has a space or a line break in it")
    return secret


WholePath = Annotated[Path, AfterValidator(_whole)]
Word = Annotated[str, AfterValidator(_one_word)]
OneLine = Annotated[SecretStr, AfterValidator(_one_line)]
PortRange = Annotated[str, AfterValidator(_port_range)]
