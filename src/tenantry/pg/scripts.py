"""SQL scripts, as pg_dump writes them: split into statements and the data of COPY.

psql, which usually reads them, runs programs that a script names. Here nothing stands between a
script and the server: SQL is sent as it is, and psql's own commands are refused. So an error about
where a statement ends breaks a load, and not its security (docs/decisions/0025).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

MOST_STATEMENT_BYTES = 128 * 1024 * 1024
_PIECE = 1024 * 1024

# One token of the server's own scanner, as far as an end of a statement might be inside it; all
# other characters come in runs.
_TOKEN = re.compile(
    rb"""
    --[^\n]*
    | /\*
    | [eE]' | ' | "
    | \$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$
    | [A-Za-z_\x80-\xff][\w$\x80-\xff]*
    | \$\d+ | \d[\w.]*
    | [;()\\]
    | [^-\s\w'"$;()\\/\x80-\xff]+
    | \S
    """,
    re.VERBOSE,
)
# A statement about rows that is a line of its own and contains nothing that might hide an end, as
# pg_dump --inserts writes them by the million: splitting each into tokens would take ten times as
# long. (Not with possessive groups: those of Python before 3.11.5 match what they should not.)
_WHOLE = rb"""(?: '[^'\\\n]*' | "[^"\n]*" | -(?!-) | /(?!\*) )"""
# Parentheses are whole, since a semicolon within them does not end a statement; what has more than
# two levels of them is split into tokens.
_FLAT = rb"""[^'";\\$/\n()-]* (?: %s [^'";\\$/\n()-]* )*""" % _WHOLE
_NESTED = rb"%s (?: \( %s \) %s )*" % (_FLAT, _FLAT, _FLAT)
_ROWS_IN_A_LINE = re.compile(
    rb"(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s %s (?: \( %s \) %s )* ;[ \t]*\r?\n"
    % (_FLAT, _NESTED, _FLAT),
    re.VERBOSE | re.IGNORECASE,
)
# Lines of an INSERT between its first and its last: rows without parentheses in them.
_ROWS_BETWEEN = re.compile(rb"(?: \( %s \) [ \t]*,\s* )+" % _FLAT, re.VERBOSE)
# With backslashes, a quote is doubled or escaped.
_ESCAPED = re.compile(rb"(?:[^'\\]++|\\.|'')*+'", re.DOTALL)
_COMMENT = re.compile(rb"/\*|\*/")
# Commands of psql's that do not change what a script does: pg_dump's safeguards against psql
# itself, and those that print something.
_HARMLESS = re.compile(
    rb"\\(?:(?:un)?restrict [A-Za-z0-9]+|(?:echo|qecho|warn|timing|pset|x)\b[^\n\\]*"
    rb"|set (?:ON_ERROR_STOP|ON_ERROR_ROLLBACK|ECHO|QUIET|VERBOSITY)\b[\w ]*)\s*"
)
_CONNECT = re.compile(rb"\\(?:connect|c)\b[^\n\\]*\s*")
_COMMAND = re.compile(rb"\\\S*")
_ROUTINE = {(b"create", b"function"), (b"create", b"procedure")}
_MOST_WORDS = 4  # CREATE OR REPLACE FUNCTION
_BEGINS = b"-- PostgreSQL database dump"
_ENDS = b"-- PostgreSQL database dump complete"
_CLUSTER = b"-- PostgreSQL database cluster dump"
# Encodings in which a byte of a letter may look like a quote or a backslash.
_AMBIGUOUS = {b"BIG5", b"GB18030", b"GBK", b"JOHAB", b"SHIFT_JIS_2004", b"SJIS", b"UHC"}
# By this pg_dump prevents functions from finding names without a schema.
EMPTIES_SEARCH_PATH = b"SELECT pg_catalog.set_config('search_path', '', false);"
FOR_ONE_DATABASE = "Dump one database: pg_dump --no-owner --no-privileges, or --format=custom."
_MAKES_A_DATABASE = [b"create", b"database"]
_INSERTS = [b"insert"]
_MAKES_CONTENTS = {b"create", b"insert", b"copy"}


class Refused(Exception):
    """A script is refused; ``hint`` says what can be done about it."""

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement with its semicolon, and the line that it begins in, from 1."""

    text: bytes
    line: int

    @property
    def verb(self) -> bytes:
        """Return its first word, in capitals."""
        found = _TOKEN.match(self.text)
        return found[0].upper() if found else b""


@dataclass(frozen=True, slots=True)
class Place:
    """The beginning of a line: how many bytes are before it, and its number less one."""

    offset: int
    line: int


class Script:
    """A script, read once from beginning to end, except for the data of a COPY.

    ``setting`` returns the server's value of ``standard_conforming_strings`` or ``client_encoding``
    at that moment, which earlier statements change. So a statement must be run before the next one
    is requested, unless it surely changes neither.
    """

    def __init__(self, file: BinaryIO, setting: Callable[[str], bytes]) -> None:
        self._file = file
        self._setting = setting
        self.line = 0
        self._rest = b""  # of the line, behind the last returned statement
        self._new()
        self._closes: Callable[[bytes, int], int] | None = None  # of a quote or comment, if in one
        self._is_dump = self._is_whole = False
        self._has_statements = False
        self._was_dumped = False
        self._databases = 0  # how many it creates
        self._has_contents = False

    def _new(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._began = 0  # in which line; 0 if not yet
        self._words: list[bytes] = []
        self._parentheses = 0
        self._blocks = 0  # BEGIN ATOMIC … END, with semicolons of its own
        self._escaped_until = 0  # the line, if nothing has followed a string with backslashes yet

    def statements(self) -> Iterator[Statement]:
        """Yield each statement. After a COPY that the server wants data for, read ``data`` first.

        Raises Refused.
        """
        while line := self._next_line():
            is_between = not self._began and self._closes is None
            if is_between and _ROWS_IN_A_LINE.fullmatch(line) is not None:
                self._rest = b""
                self._has_statements = self._has_contents = True
                yield Statement(line.rstrip(), self.line)
            elif self._words[:1] == _INSERTS and self._is_rows(line):
                self._keep(line)
            else:
                yield from self._in_line(line)
        yield from self._end()

    @property
    def is_dump(self) -> bool:
        """Whether it begins as pg_dump's output does, whose names all have their schema.

        A BEGIN may come before that.
        """
        return self._was_dumped

    def place(self) -> Place:
        """Return the position: for ``go_back``, before ``data`` or behind a statement."""
        return Place(self._file.tell(), self.line)

    def go_back(self, place: Place) -> None:
        """Continue at an earlier position, within the data of the same COPY."""
        self._file.seek(place.offset)
        self.line = place.line

    def data(self) -> Iterator[bytes]:
        """Yield the data after a COPY … FROM stdin, up to its end. Raises Refused if none."""
        if self._rest.strip():
            raise Refused(f"Line {self.line} has more behind the COPY, whose data begins there.")
        begins = True
        while piece := self._file.readline(_PIECE):
            ends = piece.endswith(b"\n")
            self.line += ends
            if begins and piece.rstrip(b"\r\n") == b"\\.":
                return
            begins = ends
            yield piece
        raise _cut_off("the data of a table")

    # ── lines ────────────────────────────────────────────────────────────────

    def _next_line(self) -> bytes:
        line = self._file.readline(MOST_STATEMENT_BYTES + 1)
        self.line += 1
        if len(line) > MOST_STATEMENT_BYTES:
            raise self._too_long()
        if b"\0" in line:
            raise Refused(
                f"Line {self.line} has bytes that are not text.",
                hint="Make the dump with pg_dump --file=…; PowerShell's > writes it otherwise.",
            )
        if line and self._setting("client_encoding") in _AMBIGUOUS:
            raise Refused(
                "It is in an encoding that scripts are not taken in.",
                hint="Make it with pg_dump --encoding=UTF8.",
            )
        if self.line == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line

    def _in_line(self, line: bytes) -> Iterator[Statement]:
        """Yield the statements that end in a line."""
        start = position = 0
        while position < len(line):
            if self._closes is not None:
                position = self._leave(self._closes, line, position)
                continue
            token = _TOKEN.search(line, position)
            if token is None:
                break
            position = token.end()
            if not self._began:
                if not self._begins(token):
                    continue
                start = token.start()
            if self._take(token):
                self._rest = line[position:]
                statement = Statement(b"".join([*self._pieces, line[start:position]]), self._began)
                self._note_what_it_makes()
                self._new()
                if statement.text != b";":
                    yield statement
                start = position
        if self._began:
            self._keep(line[start:])

    def _is_rows(self, line: bytes) -> bool:
        return self._closes is None and _ROWS_BETWEEN.fullmatch(line) is not None

    def _keep(self, text: bytes) -> None:
        self._pieces.append(text)
        self._size += len(text)
        if self._size > MOST_STATEMENT_BYTES:
            raise self._too_long()

    def _note_what_it_makes(self) -> None:
        if self._words[:2] == _MAKES_A_DATABASE:
            self._databases += 1
        elif self._words[:1] and self._words[0] in _MAKES_CONTENTS:
            self._has_contents = True

    def _too_long(self) -> Refused:
        return Refused(
            f"Line {self._began or self.line} begins a statement of more than"
            f" {MOST_STATEMENT_BYTES // 2**20} MiB.",
            hint="Make the dump without --inserts, or with --format=custom.",
        )

    def _end(self) -> Iterator[Statement]:
        if self._closes is not None:
            raise _cut_off("a statement" if self._began else "a comment")
        if self._is_dump and not self._is_whole:
            raise Refused(
                "It begins as pg_dump's output does, without the line that ends such output:"
                " something of it is missing.",
                hint="Make the dump again, or send all of it. If it is whole, remove the comment"
                f" “{_BEGINS.decode()}” at its beginning.",
            )
        if self._began:
            yield Statement(b"".join(self._pieces), self._began)

    # ── tokens ───────────────────────────────────────────────────────────────

    def _begins(self, token: re.Match[bytes]) -> bool:
        """Whether a statement begins with a token, rather than a comment or a psql command."""
        text = token[0]
        if text.startswith(b"--"):
            self._hear(text.strip())
            return False
        if text == b"/*":
            self._closes = _Comment()
            return False
        if text == b"\\" and self._is_passed_over(token.string, token.start()):
            self._closes = _rest_of_line
            return False
        self._began = self.line
        self._has_statements = True
        return True

    def _is_passed_over(self, line: bytes, position: int) -> bool:
        """Whether a psql command is ignored: it changes nothing here.

        pg_dump --create connects to the database that it has created.
        """
        if _HARMLESS.fullmatch(line, position):
            return True
        makes_its_own = self._databases == 1 and not self._has_contents
        return makes_its_own and _CONNECT.fullmatch(line, position) is not None

    def _hear(self, comment: bytes) -> None:
        self._is_whole |= comment == _ENDS
        self._was_dumped |= comment == _BEGINS and not self._has_contents
        if self._has_statements:  # a script of another kind that includes part of a dump
            return
        if comment == _CLUSTER:
            raise Refused("It is a dump of a whole server, by pg_dumpall.", hint=FOR_ONE_DATABASE)
        self._is_dump |= comment == _BEGINS

    def _take(self, token: re.Match[bytes]) -> bool:
        """Process a token of a statement. Returns whether it was the last one."""
        text = token[0]
        if text.startswith(b"--"):
            return False
        # String literals that only a new line separates are one, of the kind of the first.
        continues, self._escaped_until = 0 < self._escaped_until < self.line, 0
        if text == b";":
            return self._parentheses <= 0 and not self._blocks
        if text == b"\\":
            raise self._not_sql(token)
        if text == b"(":
            self._parentheses += 1
        elif text == b")":
            self._parentheses -= 1
        elif text[:1].isalpha() and not text.endswith(b"'"):
            self._hear_word(text.lower())
        else:
            self._closes = self._end_of(b"e'" if text == b"'" and continues else text)
        return False

    def _end_of(self, text: bytes) -> Callable[[bytes, int], int] | None:
        """Return the function that finds the end of a quote or comment; None for other tokens."""
        if text == b"/*":
            return _Comment()
        if text == b'"' or (text != b"$" and text[:1] == text[-1:] == b"$"):
            return _closing(text)
        if text == b"'" and self._setting("standard_conforming_strings") != b"off":
            return _closing(text)
        return _escaped if text.lower() in {b"'", b"e'"} else None

    def _hear_word(self, word: bytes) -> None:
        """Track the depth of a routine's body, as psql counts it."""
        if len(self._words) < _MOST_WORDS:
            self._words.append(word)
        if self._parentheses or word not in {b"begin", b"case", b"end"}:
            return
        words = [each for each in self._words if each not in {b"or", b"replace"}]
        if tuple(words[:2]) not in _ROUTINE:
            return
        if word == b"end":
            self._blocks -= self._blocks > 0
        elif word == b"begin" or self._blocks:
            self._blocks += 1

    def _leave(self, closes: Callable[[bytes, int], int], line: bytes, position: int) -> int:
        """Return the position behind a quote or comment: the end of the line if it goes on."""
        end = closes(line, position)
        if end < 0:
            return len(line)
        self._closes = None
        self._escaped_until = self.line if closes is _escaped else 0
        return end

    def _not_sql(self, token: re.Match[bytes]) -> Refused:
        found = _COMMAND.match(token.string, token.start())
        command = found[0][:20].decode(errors="replace") if found else "\\"
        if command in {"\\connect", "\\c"}:
            return Refused(f"Line {self.line} connects to another database.", hint=FOR_ONE_DATABASE)
        return Refused(
            f"Line {self.line} has a command of psql's ({command}), which is not taken here.",
            hint="Send what pg_dump writes, or load the script yourself with psql.",
        )


# ── where quotes and comments end: behind which byte of a line, or -1 ────────


def _closing(quote: bytes) -> Callable[[bytes, int], int]:
    def end(line: bytes, position: int) -> int:
        found = line.find(quote, position)
        return found if found < 0 else found + len(quote)

    return end


def _escaped(line: bytes, position: int) -> int:
    found = _ESCAPED.match(line, position)
    return found.end() if found else -1


def _rest_of_line(line: bytes, _: int) -> int:
    return len(line)


class _Comment:
    """The end of a comment; comments of this kind nest."""

    def __init__(self) -> None:
        self._depth = 1

    def __call__(self, line: bytes, position: int) -> int:
        for found in _COMMENT.finditer(line, position):
            self._depth += 1 if found[0] == b"/*" else -1
            if not self._depth:
                return found.end()
        return -1


def _cut_off(where: str) -> Refused:
    return Refused(
        f"It ends in the middle of {where}: something of it is missing.",
        hint="Make the dump again, or send all of it.",
    )
