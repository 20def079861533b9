"""Where a token says its role: PostgREST's JSON paths."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""\.(?P<key>[\w$@-]+) | \."(?P<quoted>[^"]*)" | \[\s*(?P<index>-?\d+)\s*\]
    | \[\s*(?P<mark>['"])(?P<member>.*?)(?P=mark)\s*\]
    | \[\s*\?\s*(?P<open>\()?\s*
        (?:@\s*(?P<test>==\^|\^==|\*==|==|!=)\s*(?P<q>["'])(?P<value>.*?)(?P=q)
        | search\(\s*@\s*,\s*(?P<r>["'])(?P<pattern>.*?)(?P=r)\s*\))
      \s*(?(open)\))\s*\]""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Step:
    """A key, an index, or a condition on the members of an array."""

    key: str | None = None
    index: int | None = None
    test: str = ""
    value: str = ""


def parse_path(text: str) -> tuple[Step, ...]:
    """Parse a path such as ``$.realm.roles[0]`` (RFC 9535), or ``.role`` as before version 16.

    Raises:
        ValueError: it is none.
    """
    rest = text.strip().removeprefix("$")
    steps = []
    while rest:
        matched = _TOKEN.match(rest)
        if matched is None:
            raise ValueError(f"failed to parse jwt-role-claim-key value ({text})")
        rest = rest[matched.end() :]
        found = matched.groupdict()
        if found["index"] is not None:
            steps.append(Step(index=int(found["index"])))
        elif found["test"]:
            steps.append(Step(test=found["test"], value=found["value"] or ""))
        elif found["pattern"] is not None:
            steps.append(Step(test="search", value=_checked(found["pattern"])))
        else:
            names = (found["key"], found["quoted"], found["member"])
            steps.append(Step(key=next(name for name in names if name is not None)))
    return tuple(steps)


def _checked(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"jwt-role-claim-key has no regular expression: {error}") from error
    return pattern


def walk(value: object, steps: tuple[Step, ...]) -> object:
    """What is at the path, or None."""
    for step in steps:
        if step.key is not None and isinstance(value, dict):
            value = value.get(step.key)
        elif step.index is not None and isinstance(value, list):
            inside = -len(value) <= step.index < len(value)
            value = value[step.index] if inside else None
        elif step.test and isinstance(value, list):
            value = next((each for each in value if _passes(each, step)), None)
        else:
            return None
    return value


def _passes(text: object, step: Step) -> bool:
    if not isinstance(text, str):
        return False
    if step.test == "search":
        return re.search(step.value, text) is not None
    tests = {
        "==": text == step.value,
        "!=": text != step.value,
        "^==": text.startswith(step.value),
        "==^": text.endswith(step.value),
        "*==": step.value in text,
    }
    return tests[step.test]
