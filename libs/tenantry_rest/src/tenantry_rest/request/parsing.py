"""Parsers whose errors read as PostgREST's, which are those of Haskell's Parsec.

A parser is a function of a ``Text``: it returns a value and advances the position, or raises
``Unparsed``. As in Parsec, an alternative is tried only if the one before it failed without
consuming, and the errors of alternatives at one position are merged.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tenantry_rest.errors import bad_query

T = TypeVar("T")
Parser = Callable[["Text"], T]

SYSTEM, UNEXPECTED, EXPECTED, MESSAGE = range(4)
DEEPEST = 40  # levels of parentheses; each takes some frames of Python's stack
MOST_TERMS = 500  # of a query: columns, conditions, embeds and steps into JSON


@dataclass(frozen=True)
class Problem:
    """What is wrong at a position; messages are pairs of a kind and a text."""

    position: int = 0
    messages: tuple[tuple[int, str], ...] = ()

    def merged(self, other: "Problem") -> "Problem":
        if not other.messages and self.messages:
            return self
        if not self.messages and other.messages:
            return other
        if self.position == other.position:
            return Problem(self.position, self.messages + other.messages)
        return self if self.position > other.position else other

    def expecting(self, name: str) -> "Problem":
        """The same with one expectation in place of all."""
        kept = tuple(each for each in self.messages if each[0] != EXPECTED)
        return Problem(self.position, (*kept, (EXPECTED, name)))

    def describe(self) -> str:
        """The messages in Parsec's words, in one line."""
        by_kind: dict[int, list[str]] = {kind: [] for kind in range(4)}
        for kind, text in self.messages:
            if text not in by_kind[kind] and (text or kind == SYSTEM):
                by_kind[kind].append(text)
        if not self.messages:
            return "unknown parse error"
        parts = []
        if by_kind[SYSTEM] and not by_kind[UNEXPECTED]:
            parts.append(f"unexpected {by_kind[SYSTEM][0] or 'end of input'}")
        if by_kind[UNEXPECTED]:
            parts.append(f"unexpected {_listed(by_kind[UNEXPECTED])}")
        if by_kind[EXPECTED]:
            parts.append(f"expecting {_listed(by_kind[EXPECTED])}")
        if by_kind[MESSAGE]:
            parts.append(_listed(by_kind[MESSAGE]))
        return " ".join(parts)


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


class Unparsed(Exception):
    """The text does not fit."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def shown(text: str) -> str:
    """A text the way Haskell shows a string."""
    special = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(special.get(each, _plain(each)) for each in text) + '"'


def _plain(char: str) -> str:
    return char if " " <= char <= "~" else f"\\{ord(char)}"


class Terms:
    """How many terms a query may still have."""

    def __init__(self) -> None:
        self._left = MOST_TERMS

    def take(self, count: int) -> None:
        """Count some.

        Raises:
            ApiError: PGRST100, there are too many. No alternative is tried then.
        """
        self._left -= count
        if self._left < 0:
            details = "Name fewer columns and conditions; a list of values (in) counts as one."
            raise bad_query(f"The query has more than {MOST_TERMS} terms", details)


@dataclass
class Text:
    """What is parsed, how far, and what else would have fit at this position."""

    source: str
    terms: Terms
    position: int = 0
    problem: Problem = field(default_factory=Problem)

    def fail(self, *messages: tuple[int, str], at: int | None = None) -> Unparsed:
        problem = Problem(self.position if at is None else at, messages)
        return Unparsed(self.problem.merged(problem))

    def advance(self, count: int) -> None:
        self.position += count
        self.problem = Problem(self.position)


def parse(parser: Parser[T], source: str, terms: Terms) -> T:
    """Run a parser on a text.

    Raises:
        Unparsed: it does not fit, or is nested too deeply.
        ApiError: PGRST100, it has too many terms.
    """
    depth = deepest = 0
    for char in source:
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise Unparsed(Problem(0, ((MESSAGE, "nested too deeply"),)))
    return parser(Text(source, terms))


def term(parser: Parser[T]) -> Parser[T]:
    """A parser of what is counted."""

    def run(text: Text) -> T:
        found = parser(text)
        text.terms.take(1)
        return found

    return run


def satisfying(test: Callable[[str], bool], name: str = "") -> Parser[str]:
    """One character that passes the test."""
    expected = ((EXPECTED, name),) if name else ()

    def run(text: Text) -> str:
        here = text.source[text.position : text.position + 1]
        if not here or not test(here):
            raise text.fail((SYSTEM, shown(here) if here else ""), *expected)
        text.advance(1)
        return here

    return run


def char(wanted: str) -> Parser[str]:
    return satisfying(lambda here: here == wanted, shown(wanted))


def one_of(chars: str) -> Parser[str]:
    return satisfying(lambda here: here in chars)


def none_of(chars: str) -> Parser[str]:
    return satisfying(lambda here: here not in chars)


def any_char(text: Text) -> str:
    return _any(text)


_any = satisfying(lambda _: True)
letter = satisfying(str.isalpha, "letter")
digit = satisfying(lambda here: here in "0123456789", "digit")


def string(wanted: str) -> Parser[str]:
    """All of a string; a part of it is consumed before it fails."""

    def run(text: Text) -> str:
        start = text.position
        for index, each in enumerate(wanted):
            here = text.source[start + index : start + index + 1]
            if here != each:
                problem = text.fail(
                    (SYSTEM, shown(here) if here else ""), (EXPECTED, shown(wanted)), at=start
                )
                text.position = start + index
                raise problem
        text.advance(len(wanted))
        return wanted

    return run


def attempt(parser: Parser[T]) -> Parser[T]:
    """A parser that consumes nothing if it fails (Parsec's ``try``)."""

    def run(text: Text) -> T:
        start, before = text.position, text.problem
        try:
            return parser(text)
        except Unparsed as error:
            if text.position == start:
                raise
            text.position = start
            raise Unparsed(before.merged(error.problem)) from None

    return run


def either(*parsers: Parser[T]) -> Parser[T]:
    """The first parser that does not fail without consuming."""

    def run(text: Text) -> T:
        start = text.position
        for parser in parsers[:-1]:
            try:
                return parser(text)
            except Unparsed as error:
                if text.position != start:
                    raise
                text.problem = error.problem
        return parsers[-1](text)

    return run


def optional(parser: Parser[T]) -> Parser[T | None]:
    def run(text: Text) -> T | None:
        start = text.position
        try:
            return parser(text)
        except Unparsed as error:
            if text.position != start:
                raise
            text.problem = error.problem
            return None

    return run


def many(parser: Parser[T]) -> Parser[list[T]]:
    once = optional(parser)

    def run(text: Text) -> list[T]:
        found = []
        while (each := once(text)) is not None:
            found.append(each)
        return found

    return run


def many1(parser: Parser[T]) -> Parser[list[T]]:
    rest = many(parser)
    return lambda text: [parser(text), *rest(text)]


def separated(parser: Parser[T], by: Parser[object]) -> Parser[list[T]]:
    """One or more, with something between them."""

    def following(text: Text) -> T:
        by(text)
        return parser(text)

    rest = many(following)
    return lambda text: [parser(text), *rest(text)]


def labelled(parser: Parser[T], name: str) -> Parser[T]:
    """A parser whose expectations have one name, unless it consumed (Parsec's ``<?>``)."""

    def run(text: Text) -> T:
        start, before = text.position, text.problem
        text.problem = Problem(start)
        try:
            found = parser(text)
        except Unparsed as error:
            if text.position != start:
                raise
            raise Unparsed(before.merged(error.problem.expecting(name))) from None
        if text.position == start:
            problem = text.problem
            text.problem = before.merged(problem.expecting(name) if problem.messages else problem)
        return found

    return run


def ahead(parser: Parser[T]) -> Parser[T]:
    """Look ahead without consuming."""

    def run(text: Text) -> T:
        start, before = text.position, text.problem
        found = parser(text)
        text.position, text.problem = start, before
        return found

    return run


def not_followed_by(parser: Parser[str]) -> Parser[None]:
    def run(text: Text) -> None:
        start, before = text.position, text.problem
        try:
            found = parser(text)
        except Unparsed:
            text.position, text.problem = start, before
            return
        after, text.position = text.position, start
        text.problem = before
        raise text.fail((UNEXPECTED, f"'{found}'"), at=after)

    return run


def end(text: Text) -> None:
    here = text.source[text.position : text.position + 1]
    if here:
        raise text.fail((UNEXPECTED, f"'{here}'"), (EXPECTED, "end of input"))


def fully(parser: Parser[T]) -> Parser[T]:
    """Everything up to the end."""

    def run(text: Text) -> T:
        found = parser(text)
        end(text)
        return found

    return run
