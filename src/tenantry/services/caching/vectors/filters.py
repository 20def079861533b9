"""The filters of a search: conditions on attributes, as JSON. Pure.

    {"kind": "shoe", "price": {"$lt": 50}}          both hold
    {"$or": [{"kind": {"$in": ["shoe", "boot"]}}, {"$not": {"price": {"$gte": 50}}}]}

A value alone means ``$eq``. ``$gt``, ``$gte``, ``$lt`` and ``$lte`` compare numbers, and hold of
nothing else. ``$ne`` and ``$nin`` hold also without the attribute. True is not 1, and "1" is not 1.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tenantry.base.errors import InvalidInput

Value = str | float | bool
Attributes = Mapping[str, Value]

_MOST_CONDITIONS = 100
_DEEPEST = 8
ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


class Filter(Protocol):
    def holds(self, attributes: Attributes) -> bool:
        """Whether it holds of these attributes."""
        ...


@dataclass(frozen=True, slots=True)
class Equals:
    name: str
    value: Value

    def holds(self, attributes: Attributes) -> bool:
        found = attributes.get(self.name)
        return found == self.value and isinstance(found, bool) == isinstance(self.value, bool)


@dataclass(frozen=True, slots=True)
class Compares:
    """``order`` is one of ``ORDERS``."""

    name: str
    order: str
    number: float

    def holds(self, attributes: Attributes) -> bool:
        found = attributes.get(self.name)
        return is_number(found) and bool(ORDERS[self.order](found, self.number))


@dataclass(frozen=True, slots=True)
class Exists:
    name: str

    def holds(self, attributes: Attributes) -> bool:
        return self.name in attributes


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter

    def holds(self, attributes: Attributes) -> bool:
        return not self.part.holds(attributes)


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Filter, ...]

    def holds(self, attributes: Attributes) -> bool:
        return all(each.holds(attributes) for each in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Filter, ...]

    def holds(self, attributes: Attributes) -> bool:
        return any(each.holds(attributes) for each in self.parts)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def parse(given: object) -> Filter:
    """Return a filter. Raises InvalidInput, with what is wrong, for what is none."""
    return _Parser().filter(given, depth=1)


class _Parser:
    def __init__(self) -> None:
        self._count = 0

    def filter(self, given: object, *, depth: int) -> Filter:
        if not isinstance(given, Mapping) or not given:
            raise _wrong("is an object with at least one condition")
        if depth > _DEEPEST:
            raise _wrong(f"is nested more than {_DEEPEST} deep")
        return _all([self._member(str(name), value, depth) for name, value in given.items()])

    def _member(self, name: str, value: object, depth: int) -> Filter:
        if name in {"$and", "$or"}:
            if not isinstance(value, list) or not value:
                raise _wrong(f"{name} has a list of filters")
            parts = [self.filter(each, depth=depth + 1) for each in value]
            return _all(parts) if name == "$and" else Either(tuple(parts))
        if name == "$not":
            return Not(self.filter(value, depth=depth + 1))
        if name.startswith("$"):
            raise _wrong(f"{name} is none of $and, $or, $not, nor the name of an attribute")
        if not isinstance(value, Mapping):
            return self._condition(name, "$eq", value)
        if not value:
            raise _wrong(f"{name} has no condition")
        return _all([self._condition(name, str(op), each) for op, each in value.items()])

    def _condition(self, name: str, op: str, value: object) -> Filter:
        many = self._values(op, value) if op in {"$in", "$nin"} else []
        self._count += max(1, len(many))
        if self._count > _MOST_CONDITIONS:
            raise _wrong(f"has more than {_MOST_CONDITIONS} conditions")
        if op in ORDERS:
            if not is_number(value):
                raise _wrong(f"{op} compares numbers")
            return Compares(name, op, _value(op, value))  # type: ignore[arg-type]
        if op == "$exists":
            if not isinstance(value, bool):
                raise _wrong("$exists is true or false")
            return Exists(name) if value else Not(Exists(name))
        if op in {"$eq", "$ne"}:
            equal: Filter = Equals(name, _value(op, value))
        elif op in {"$in", "$nin"}:
            equal = Either(tuple(Equals(name, each) for each in many))
        else:
            known = "$eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, $exists"
            raise _wrong(f"{op} is none of {known}")
        return Not(equal) if op in {"$ne", "$nin"} else equal

    def _values(self, op: str, value: object) -> Sequence[Value]:
        if not isinstance(value, list) or not value:
            raise _wrong(f"{op} has a list of values")
        return [_value(op, each) for each in value]


def _value(op: str, value: object) -> Value:
    if isinstance(value, str | bool):
        return value
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise _wrong(f"{op} has a text, a number, true or false") from None
    if not math.isfinite(number):
        raise _wrong(f"{op} has a number that is not finite")
    return number


def _all(parts: Sequence[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _wrong(message: str) -> InvalidInput:
    return InvalidInput.of("filter", message)
