"""Published weaknesses of the programs that the platform runs, and the releases without them.

As known on ``AS_OF``; a later release is assumed to have none of these. Sources:

- PostgreSQL 15: the release notes of each minor release, as repeated in the changelog of Debian's
  package postgresql-15 15.20-0+deb12u1, which names every CVE with the release that fixed it.
- PostgreSQL 16 to 18: the project's security page and the announcements of the same rounds of
  minor releases up to May 2026 (https://www.postgresql.org/support/security/). Of the rounds of
  August and November 2026 only what is known to affect them is listed.
- PgBouncer: its changelog (https://www.pgbouncer.org/changelog.html) and, for CVE-2026-107350,
  its announcement: 1.17.0 to 1.26.0 are affected, 1.26.1 is not.

A release that a distribution fixes without changing the version is compared by the CVEs that
the package's changelog names (engines.py).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

AS_OF = dt.date(2026, 11, 28)


@dataclass(frozen=True, slots=True)
class Weakness:
    """A published weakness of PgBouncer: its effect, and the releases that began and ended it."""

    cve: str
    ended_in: tuple[int, ...]
    allows: str
    began_in: tuple[int, ...] = ()


PGBOUNCER = (
    Weakness("CVE-2025-2291", (1, 24, 1), "a password past its VALID UNTIL still logs in"),
    Weakness("CVE-2025-12819", (1, 25, 1), "a search_path sent at login runs SQL in auth_query"),
    Weakness("CVE-2026-6664", (1, 25, 2), "a malformed SCRAM packet crashes it"),
    Weakness("CVE-2026-6665", (1, 25, 2), "a malicious server overflows its stack"),
    Weakness("CVE-2026-6666", (1, 25, 2), "a server's error without an SQLSTATE crashes it"),
    Weakness("CVE-2026-6667", (1, 25, 2), "any user of its console may run KILL_CLIENT"),
    Weakness(
        "CVE-2026-107350",
        (1, 26, 1),
        "who knows one password logs in as any SCRAM user through a database that does not exist",
        began_in=(1, 17, 0),
    ),
)


@dataclass(frozen=True, slots=True)
class Round:
    """A round of minor releases of PostgreSQL: by major, the first minor without these CVEs."""

    minors: Mapping[int, int]
    cves: tuple[str, ...]


def _cves(year: int, *numbers: int) -> tuple[str, ...]:
    return tuple(f"CVE-{year}-{number:04}" for number in numbers)


POSTGRES = (
    Round({15: 2}, _cves(2022, 41862)),
    Round({15: 3}, _cves(2023, 2454, 2455)),
    Round({15: 4}, _cves(2023, 39417, 39418)),
    Round({15: 5, 16: 1}, _cves(2023, 5868, 5869, 5870)),
    Round({15: 6, 16: 2}, _cves(2024, 985)),
    Round({15: 7, 16: 3}, _cves(2024, 4317)),
    Round({15: 8, 16: 4}, _cves(2024, 7348)),
    Round({15: 9, 16: 5, 17: 1}, _cves(2024, 10976, 10977, 10978, 10979)),
    Round({15: 11, 16: 7, 17: 3}, _cves(2025, 1094)),
    Round({15: 13, 16: 9, 17: 5}, _cves(2025, 4207)),
    Round({15: 14, 16: 10, 17: 6}, _cves(2025, 8713, 8714, 8715)),
    Round({15: 15, 16: 11, 17: 7, 18: 1}, _cves(2025, 12817, 12818)),
    Round({15: 16, 16: 12, 17: 8, 18: 2}, _cves(2026, 2003, 2004, 2005, 2006)),
    Round({18: 2}, _cves(2026, 2007)),
    Round({15: 18, 16: 14, 17: 10, 18: 4},
        _cves(2026, 6472, 6473, 6474, 6475, 6477, 6478, 6479, 6637)),
    Round({16: 14, 17: 10, 18: 4}, _cves(2026, 6638)),
    Round({17: 10, 18: 4}, _cves(2026, 6476)),
    Round({15: 19}, _cves(2026, 6464, 6469, 6470, 6471, 14662, 14663, 14664, 14666, 14668, 14669,
        14670, 14671, 14672, 14673, 14676, 14677, 14678, 14679, 14680, 14681, 15741, 15742, 16238,
        16239, 16241, 18024, 18408, 19385)),
    Round({15: 20, 16: 16, 17: 12, 18: 7}, _cves(2026, 6460)),
    Round({15: 20}, _cves(2026, 6467, 14661, 16237, 16240, 18447, 116303, 116304, 116306, 116307,
        116308, 116309, 116311, 116312, 116314, 116315, 116316, 116317, 116319, 116320, 116321,
        116323, 116326, 116327, 116328, 116330, 116331, 116332, 116335, 116336, 120139, 120141,
        120143, 120145, 120146, 120147, 120148, 120149, 120150, 120151, 120153, 120154)),
)  # fmt: skip


def of_postgres(major: int, minor: int) -> list[str]:
    """Return the CVEs that a release of PostgreSQL is known to have, the newest first."""
    found = [
        cve
        for each in POSTGRES
        if major in each.minors and minor < each.minors[major]
        for cve in each.cves
    ]
    return sorted(found, key=lambda cve: tuple(map(int, cve.split("-")[1:])), reverse=True)
