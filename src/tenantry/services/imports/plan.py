"""What may be imported, from where, and what of it is supported here. Pure."""

import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tenantry.pg.api_roles import SHARED
from tenantry.pg.reloading import Remark
from tenantry.pg.sources import ExtensionUse, IPAddress, RoleUse, Table

NOT_ON_SERVER = "this server does not have it"
TENANTS_CANNOT = "tenants cannot have it"
_MOST_NAMED = 5

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PRIVATE = [
    ipaddress.ip_network(each)
    for each in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
        "100.64.0.0/10",  # RFC 6598
        "fc00::/7",  # RFC 4193
    )
]


def embedded(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 address leads to, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    for inner in (address.ipv4_mapped, address.sixtofour):
        if inner is not None:
            return inner
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address


def is_allowed(address: IPAddress, *, administrator: bool, private: bool) -> bool:
    """Whether an import may connect to an address.

    Customers reach the Internet, and private networks if ``private``; only administrators reach
    this machine. Nobody reaches link-local addresses (169.254.169.254 serves a cloud's secrets) and
    those that no server has.
    """
    inner = embedded(address)
    if inner.is_loopback:
        return administrator
    if any(inner in network for network in _PRIVATE):
        return administrator or private
    # is_global is true also for the deprecated fec0::/10, and for multicast groups.
    old = isinstance(inner, ipaddress.IPv6Address) and inner.is_site_local
    return inner.is_global and not (old or inner.is_multicast or inner.is_reserved)


UnmappedRoles = Literal["leave_out", "refuse"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What to copy of a source, and how: the given schemas or else all, without some tables.

    ``exclude_tables`` are pairs of schema and name. ``statement_seconds`` is how long each
    statement may run, there and here; None for the default. ``roles`` says which role here stands
    for a role of the source; parts of policies and grants that name other roles are left out, or
    refused. With ``accept_losses`` the import continues without what PostgreSQL does not build
    again.
    """

    schemas: Sequence[str] = ()
    exclude_tables: Sequence[tuple[str, str]] = ()
    jobs: int = 2
    statement_seconds: float | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    unmapped_roles: UnmappedRoles = "leave_out"
    accept_losses: bool = False

    def as_json(self) -> dict[str, object]:
        """Return the selection as ``pg.source_reading`` takes it."""
        return {
            "schemas": list(self.schemas),
            "exclude": [list(each) for each in self.exclude_tables],
        }

    def tables(self, there: Iterable[Table]) -> list[Table]:
        """Return those of the source's tables that are copied."""
        return [
            table
            for table in there
            if (not self.schemas or table.schema in self.schemas)
            and (table.schema, table.name) not in self.exclude_tables
        ]

    def roles_in(self, there: Iterable[RoleUse]) -> list[RoleUse]:
        """Return the uses of roles in what is copied."""
        return [each for each in there if not self.schemas or each.schema in self.schemas]

    def needed_in(self, there: Iterable[ExtensionUse]) -> list[ExtensionUse]:
        """Return the uses of extensions without which the copy would lack rows."""
        return [
            each
            for each in there
            if each.holds_rows
            and (not self.schemas or each.schema in {None, *self.schemas})
            and (each.schema, each.table) not in self.exclude_tables
        ]

    def options(self) -> list[str]:
        """Return the options of pg_dump. It takes patterns: quoted, they are names."""
        chosen = [f"--schema={_quoted(schema)}" for schema in self.schemas]
        if chosen:
            chosen.append("--extension=*")
        return chosen + [
            f"--exclude-table={_quoted(schema)}.{_quoted(name)}"
            for schema, name in self.exclude_tables
        ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Offered:
    """An extension that the server here has, and whether tenants may have it."""

    name: str
    installable: bool


def unavailable(wanted: Iterable[str], offered: Iterable[Offered]) -> dict[str, str]:
    """Return the extensions of a source that cannot be here, by name, each with the reason."""
    known = {each.name: each.installable for each in offered}
    return {
        name: TENANTS_CANNOT if name in known else NOT_ON_SERVER
        for name in wanted
        if not known.get(name, False)
    }


def needs(uses: Iterable[ExtensionUse], missing: Mapping[str, str]) -> str:
    """Return, in words, what needs an extension that is ``missing`` (see ``unavailable``).

    Empty if nothing does.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for each in uses:
        if each.extension in missing:
            found[each.extension].append(each.what)
    return "; ".join(
        f"{name} ({missing[name]}), which {_some(what)} need{'s' * (len(what) == 1)}"
        for name, what in found.items()
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


# Objects that can be left out without losing rows or what protects them. PostgreSQL's reasons for a
# missing dependency all contain ``_MISSING``.
_DISPENSABLE = re.compile(
    r"(?:VIEW|MATERIALIZED VIEW|MATERIALIZED VIEW DATA|FUNCTION|PROCEDURE|AGGREGATE|RULE|OPERATOR"
    r"|OPERATOR CLASS|OPERATOR FAMILY|CAST|TEXT SEARCH [A-Z]+) "
)
_MISSING = "does not exist"
_OF_A_RELATION = re.compile(r'relation ".*" does not exist')


def dispensable(lost: Iterable[Remark]) -> tuple[list[Remark], list[Remark]]:
    """Split the objects that were not built, of a dump whose extensions are not all here.

    Returns those that are left out with the extensions, such as views that use them, and those that
    are lost.
    """
    left_out: list[Remark] = []
    others: list[Remark] = []
    for each in lost:
        goes_with_it = (_DISPENSABLE.match(each.object) and _MISSING in each.reason) or (
            each.object.startswith("INDEX ") and _OF_A_RELATION.search(each.reason)
        )
        (left_out if goes_with_it else others).append(each)
    return left_out, others


# ── the contents of a dump ───────────────────────────────────────────────────

# Entries that need a superuser, or belong to the source's server, as a dump's table of contents
# lists them ("3; 2615 2200 SCHEMA - public postgres").
_LEFT_OUT = re.compile(
    r"\d+; \d+ \d+ (?P<what>(?:EVENT TRIGGER|SUBSCRIPTION|SECURITY LABEL|DATABASE"
    r"|DATABASE PROPERTIES|ROW SECURITY LABEL|SCHEMA - public|ACL - SCHEMA public"
    r"|COMMENT - EXTENSION|COMMENT - SCHEMA public|COMMENT - EVENT TRIGGER|COMMENT - DATABASE"
    r"|COMMENT - SUBSCRIPTION|EXTENSION - plpgsql|USER MAPPING|SERVER|FOREIGN DATA WRAPPER"
    r"|FOREIGN TABLE) .*"
    r"|SCHEMA - public)"
)
_WORTH_REPORTING = re.compile(r"EVENT TRIGGER|SUBSCRIPTION|SERVER|FOREIGN|USER MAPPING")
# Entries that name roles, or may name something that is not in the dump. The other entries do not
# need them, so that each is decided by itself (``pg.script_choice``).
_ONE_BY_ONE = re.compile(
    r"\d+; \d+ \d+ (?:POLICY|PUBLICATION|PUBLICATION TABLE|PUBLICATION TABLES IN SCHEMA|ACL"
    r"|DEFAULT ACL|TRIGGER|FK CONSTRAINT|COMMENT) .*"
)
_STATISTICS = re.compile(r"\d+; \d+ \d+ STATISTICS DATA .*")
_WITH_STATISTICS = 18  # the first major version that reads them back
_EXTENSION = re.compile(r"\d+; \d+ \d+ EXTENSION - (?P<name>.*?) *")
_ONE_NUMBER = 10  # the first release whose major version is one number
_DATA = re.compile(
    r"\d+; \d+ \d+ (?P<kind>TABLE|SEQUENCE)(?P<is_data> DATA| SET)? (?P<of>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The entries of a dump's table of contents, by what happens to them.

    pg_restore loads ``restored``; ``one_by_one`` are decided statement by statement afterwards;
    ``left_out`` are those to report. ``lacks_extensions`` says whether these include extensions.
    """

    restored: list[str]
    one_by_one: list[str]
    left_out: list[str]
    lacks_extensions: bool = False


def choose(contents: Sequence[str], offered: Collection[Offered], version: int) -> Chosen:
    """Decide about the entries of a dump's table of contents.

    ``version`` is the server's major version, ``offered`` are its extensions.
    """
    installable = {each.name for each in offered if each.installable}
    chosen = Chosen([], [], [])
    lacks_extensions = False
    for line in contents:
        if (found := _LEFT_OUT.match(line)) is not None:
            if _WORTH_REPORTING.match(found["what"]):
                chosen.left_out.append(found["what"])
        elif (found := _EXTENSION.fullmatch(line)) and found["name"] not in installable:
            lacks_extensions = True
            missing = unavailable([found["name"]], offered)
            chosen.left_out.extend(f"EXTENSION {name}: {why}" for name, why in missing.items())
        elif _STATISTICS.match(line) and version < _WITH_STATISTICS:
            continue  # the server computes its own
        elif _ONE_BY_ONE.match(line):
            chosen.one_by_one.append(line)
        else:
            chosen.restored.append(line)
    return _without_strays(chosen) if lacks_extensions else chosen


def _without_strays(chosen: Chosen) -> Chosen:
    """Leave out the data of tables that belong to an extension."""
    parsed = [(line, _DATA.fullmatch(line)) for line in chosen.restored]
    made = {(found["kind"], found["of"]) for _, found in parsed if found and not found["is_data"]}
    strays = [
        (line, found["of"])
        for line, found in parsed
        if found and found["is_data"] and (found["kind"], found["of"]) not in made
    ]
    lines = {line for line, _ in strays}
    return Chosen(
        [line for line in chosen.restored if line not in lines],
        chosen.one_by_one,
        [*chosen.left_out, *(f"data of {of}" for _, of in strays)],
        lacks_extensions=True,
    )


# ── roles ────────────────────────────────────────────────────────────────────


def roles(
    owner: str, additional: Mapping[str, str], mapped: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the roles that a dump may name, and the names in ``mapped`` that this database lacks.

    The former are by the names that the dump's grants and policies have for them. ``additional``
    are the database's additional roles by their short names; ``mapped`` says which role of the
    database, by either name, stands for a role of the source. The roles that requests of data APIs
    take stand for those of the same names, and may stand for others: they are of use to nobody but
    this database's API, and own nothing.
    """
    shared = {name: name for name in SHARED}
    own = {owner: owner} | {login: login for login in additional.values()} | dict(additional)
    found = shared | {login: login for login in own.values()}
    own = shared | own
    found |= {old: own[new] for old, new in mapped.items() if new in own}
    return found, sorted({new for new in mapped.values() if new not in own})


def uses(
    there: Iterable[RoleUse], known: Mapping[str, str]
) -> list[tuple[str, dict[str, int], str | None]]:
    """Return the roles that a source names, sorted by name.

    With each of them: how often by kind of use, and the role here that stands for it (see
    ``roles``).
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in there:
        counts[each.role][each.use] += each.count
    return [(role, dict(counts[role]), known.get(role)) for role in sorted(counts)]


def version_name(number: int) -> str:
    """Return the usual form of PostgreSQL's version number: 15.4 for 150004, 9.6.24 for 90624."""
    major, rest = divmod(number, 10_000)
    return f"{major}.{rest}" if major >= _ONE_NUMBER else f"{major}.{rest // 100}.{rest % 100}"


# ── settings ─────────────────────────────────────────────────────────────────

# Settings that change the meaning or the format of data and statements. The others are about a
# server's resources and limits, which the platform sets here, or, with a dot in the name, only a
# superuser may set them.
_BROUGHT = {
    "bytea_output",
    "datestyle",
    "default_text_search_config",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "extra_float_digits",
    "intervalstyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "row_security",
    "search_path",
    "standard_conforming_strings",
    "timezone",
    "xmlbinary",
    "xmloption",
}


def settings(there: Mapping[str, str], here: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the source's settings to apply here, and the names of the others that differ here."""
    brought = {name: value for name, value in there.items() if name.lower() in _BROUGHT}
    others = (set(there) - set(brought)) - {name for name in there if here.get(name) == there[name]}
    return brought, sorted(others)


# ── the result ───────────────────────────────────────────────────────────────


def warnings(where: str, *, tables: int, objects: int) -> list[str]:
    """Return the warnings about an import without tables.

    ``objects`` counts the created objects of any kind; ``where`` is "the dump" or names the source.
    """
    if tables:
        return []
    if objects:
        return [f"No tables were imported: {where} has none, only other objects ({objects:,})."]
    return [f"Nothing was imported: {where} has no tables, functions or other objects."]


def foreseen(where: str, *, tables: int) -> list[str]:
    """Return the same warnings before an import, when other objects are not known."""
    return [] if tables else [f"There are no tables to import: {where} has none."]


def differences(there: dict[str, int], here: dict[str, int]) -> list[str]:
    """Return, in words, the tables that have another number of rows here than there."""
    return [
        f"{name}: {there[name]:,} rows there, "
        + (f"{here[name]:,} here" if name in here else "no such table here")
        for name in sorted(there)
        if here.get(name) != there[name]
    ]
