"""docs/reference/security.md lists exactly the attempts that there are, in the same words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from attempts import NOTHING, Attempt
from attempts_all import ATTEMPTS, SECTIONS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "security.md"


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("\u200b", "U+200B").split())


def answers(attempt: Attempt) -> str:
    if isinstance(attempt.answer, str):
        return f"`{attempt.answer}`" if attempt.answer != NOTHING else "nothing"
    return ", ".join(f"{endpoint}: `{words}`" for endpoint, words in attempt.answer.items())


def row(attempt: Attempt) -> str:
    endpoints = ", ".join(attempt.endpoints)
    seen = "yes" if attempt.lift else "no"
    words = (attempt.shown, attempt.held_by, answers(attempt), endpoints, seen)
    return f"| `{attempt.name}` | {' | '.join(map(cell, words))} |"


def rows_of_the_page() -> Iterator[tuple[str, str]]:
    """Each row that names an attempt, with the heading above it."""
    heading = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("### "):
            heading = line.removeprefix("### ")
        if line.startswith("| `") and heading in SECTIONS:
            yield heading, line


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_page_lists_exactly_the_attempts(heading: str) -> None:
    reported = [line for each, line in rows_of_the_page() if each == heading]
    assert reported == [row(attempt) for attempt in SECTIONS[heading]]


def test_no_two_attempts_have_one_name() -> None:
    names = [attempt.name for attempt in ATTEMPTS]
    assert len(set(names)) == len(names) >= 60
