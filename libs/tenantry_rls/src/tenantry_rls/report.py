"""The findings of a check: values, and their text, JSON and JUnit."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal
from xml.etree import ElementTree as ET

Severity = Literal["error", "warning"]
Outcome = Literal["refused", "crossed", "not tried"]

BY_ATTEMPT = ("crossed", "not-tried")  # kinds of findings that an attempt led to


@dataclass(frozen=True, slots=True)
class Finding:
    """A hole, or with severity ``warning`` a possible one. ``fix`` is the SQL that fixes it."""

    kind: str
    subject: str
    what: str
    why: str
    fix: str
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as one customer on another's rows."""

    subject: str
    action: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The ``subjects``, findings and attempts of a check; ``allowed`` are known and accepted."""

    database: str
    role: str
    subjects: tuple[str, ...]
    findings: tuple[Finding, ...]
    attempts: tuple[Attempt, ...]
    allowed: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity == "warning")

    def count(self, outcome: Outcome) -> int:
        """Return how many attempts had this outcome."""
        return sum(attempt.outcome == outcome for attempt in self.attempts)

    def passes(self, *, strict: bool = False) -> bool:
        """Whether the isolation holds; with ``strict``, warnings fail too."""
        return not (self.findings if strict else self.errors)


def as_text(report: Report) -> str:
    """Return the report for people."""
    lines = []
    for finding in sorted(report.findings, key=lambda each: each.severity):
        lines += [f"{finding.severity.upper()} {finding.kind}: {finding.subject}"]
        lines += [f"  {finding.what}", f"  Why: {finding.why}"]
        lines += ["  Fix:", *_indented(finding.fix), ""]
    lines += [
        f"{_plain(attempt.subject)}: {attempt.action}: not tried: {attempt.detail}"
        for attempt in report.attempts
        if attempt.outcome == "not tried"
    ]
    reported = (
        f"{report.database} as {report.role}: {len(report.subjects)} relations and functions,"
        f" {len(report.attempts)} attempts ({report.count('refused')} refused,"
        f" {report.count('crossed')} crossed, {report.count('not tried')} not tried),"
        f" {len(report.errors)} errors, {len(report.warnings)} warnings,"
        f" {len(report.allowed)} allowed."
    )
    verdict = "Isolated." if report.passes() else "NOT isolated."
    return "\n".join([*map(_plain, lines), _plain(reported), verdict])


def as_json(report: Report) -> str:
    """Return the report for programs: the fields of Report, and ``isolated``."""
    return json.dumps({"isolated": report.passes(), **asdict(report)}, indent=2)


def as_junit(report: Report) -> str:
    """Return the report for CI: a suite of the subjects, and one of the attempts."""
    root = ET.Element("testsuites", name="tenantry_rls")
    looked = ET.SubElement(root, "testsuite", name="rules")
    by_rule = [each for each in report.findings if each.kind not in BY_ATTEMPT]
    for subject in dict.fromkeys([*report.subjects, *(each.subject for each in by_rule)]):
        case = ET.SubElement(looked, "testcase", classname="rules", name=_xml(subject))
        for finding in (each for each in by_rule if each.subject == subject):
            tag = "failure" if finding.severity == "error" else "system-out"
            node = ET.SubElement(case, tag)
            if tag == "failure":
                node.set("message", _xml(finding.what))
                node.set("type", finding.kind)
            node.text = _xml(f"{finding.what}\n{finding.why}\n{finding.fix}")
    tried = ET.SubElement(root, "testsuite", name="attempts")
    for attempt in report.attempts:
        name = _xml(f"{attempt.subject}: {attempt.action}")
        case = ET.SubElement(tried, "testcase", classname="attempts", name=name)
        if attempt.outcome != "refused":
            tag = "failure" if attempt.outcome == "crossed" else "skipped"
            ET.SubElement(case, tag, message=_xml(attempt.detail or attempt.outcome))
    for suite in (looked, tried):
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("testcase[failure]"))))
        suite.set("skipped", str(len(suite.findall("testcase[skipped]"))))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _indented(text: str) -> Iterable[str]:
    return (f"    {line}" for line in text.splitlines())


def _plain(text: str) -> str:
    """Escape control characters: names are untrusted, and must not act on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _xml(text: str) -> str:
    """Replace the characters that XML does not allow."""
    return "".join(c if c == "\n" or c.isprintable() else "?" for c in text)
