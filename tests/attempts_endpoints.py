"""The attempts to log in as somebody else, or to somewhere else. See attempts.py."""

import socket
import ssl
import struct
import warnings

from attempts import (
    DIRECT,
    POOLED,
    THROUGH,
    Attempt,
    Lift,
    Scenario,
    Try,
    arrival,
    attribute,
    grant,
)
from clients import port_of

_BOTH = (DIRECT, POOLED)
_IDLE = (DIRECT,)  # the pooler would stay connected to a template that is still to be copied
_ACL = "`REVOKE ALL ON DATABASE … FROM PUBLIC`"
_SAME_ROLE = "`samerole` in `pg_hba.conf`"
_RULE = 'hostssl all "{role}" 0.0.0.0/0 scram-sha-256'
_CLOSED = "permission denied for database"


def _database(name: str, database: str, *, lift_endpoints: tuple[str, ...] = _BOTH) -> Attempt:
    return arrival(
        name, f"database `{database}`", f"{_SAME_ROLE}, and {_ACL}",
        {DIRECT: "no pg_hba.conf entry", POOLED: _CLOSED},
        Lift((f'GRANT CONNECT ON DATABASE "{database}" TO "{{role}}"',),
             (f'REVOKE CONNECT ON DATABASE "{database}" FROM "{{role}}"',), rule=_RULE),
        lift_endpoints=lift_endpoints, dbname=database,
    )  # fmt: skip


def _nowhere(name: str, database: str, held_by: str) -> Attempt:
    return arrival(
        name, f"database `{database}`", held_by,
        {DIRECT: "no pg_hba.conf entry", POOLED: "does not exist"}, None, dbname=database,
    )  # fmt: skip


def _user(name: str, user: str, database: str = "postgres") -> Attempt:
    return arrival(
        name, f"user `{user}`",
        "refused by name in `pg_hba.conf` and in PgBouncer's rules; unknown to the lookup",
        {DIRECT: "pg_hba.conf rejects connection", POOLED: "login rejected|no such user"},
        Lift(rule=f"hostssl all {user} 0.0.0.0/0 trust"),
        user=user, dbname=database,
    )  # fmt: skip


def _nobody(name: str, user: str) -> Attempt:
    return arrival(
        name, f"user `{user!r}`" if "\t" in user else f"user `{user}`",
        "names are compared letter by letter; no rule and no verifier has this one",
        {DIRECT: "no pg_hba.conf entry", POOLED: "no such user"}, None, user=user,
    )  # fmt: skip


def _options(name: str, options: str, reported: str, lift: Lift | None) -> Attempt:
    return arrival(
        name, f"`options={options}`",
        "PostgreSQL asks for the same privilege as for `SET`; of `options` PgBouncer takes what it"
        " tracks",
        {DIRECT: reported, POOLED: "unsupported startup parameter in options"}, lift,
        options=options,
    )  # fmt: skip


def handshake(port: int, version: ssl.TLSVersion) -> ssl.SSLSocket:
    """TLS of exactly this version with a PostgreSQL port."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL would not even offer an old version
    context.options &= ~(ssl.OP_NO_TLSv1_1 | ssl.OP_NO_TLSv1_2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    plain.sendall(struct.pack("!II", 8, 80877103))  # SSLRequest
    assert plain.recv(1) == b"S"
    return context.wrap_socket(plain)


def _old_tls(scenario: Scenario, endpoint: str) -> str:
    try:
        with handshake(port_of(scenario.url(endpoint)), ssl.TLSVersion.TLSv1_1):
            return THROUGH
    except ssl.SSLError as error:
        return str(error).lower()


def _begin(scenario: Scenario, endpoint: str, *parameters: tuple[str, str]) -> str:
    """Send this startup packet; being asked for a password is as far as one has to come."""
    reported = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters) + b"\0"
    with handshake(port_of(scenario.url(endpoint)), ssl.TLSVersion.TLSv1_2) as session:
        session.sendall(struct.pack("!II", len(reported) + 8, 196608) + reported)
        answer = session.recv(4096)
    return THROUGH if answer[:1] == b"R" else answer.decode(errors="replace")


def _raw(name: str, value: str) -> Try:
    """A startup packet with a parameter that libpq has no word for."""

    def tries(scenario: Scenario, endpoint: str) -> str:
        own = scenario.words
        return _begin(
            scenario, endpoint, ("user", own["role"]), ("database", own["database"]), (name, value)
        )

    return tries


def _twice(scenario: Scenario, endpoint: str) -> str:
    """Two users in one packet: the first for the rules, the second for the session?"""
    users = ("user", scenario.words["role"]), ("user", "tenantry_admin")
    return _begin(scenario, endpoint, *users, ("database", "postgres"))


ENDPOINTS_OF_OTHERS: tuple[Attempt, ...] = (
    _database("enter-postgres", "postgres"),
    _database("enter-template1", "template1", lift_endpoints=_IDLE),
    _database("enter-our-template", "tenantry_template", lift_endpoints=_IDLE),
    _database("enter-verifiers", "tenantry_auth"),
    _database("enter-neighbour", "{foreign}"),
    _database("enter-neighbours-shadow", "{foreign_shadow}"),
    arrival("enter-template0", "database `template0`",
        f"{_SAME_ROLE}, `ALLOW_CONNECTIONS false`, and {_ACL}",
        {DIRECT: "no pg_hba.conf entry",
         POOLED: "permission denied for database|not currently accepting connections"},
        Lift(("ALTER DATABASE template0 ALLOW_CONNECTIONS true",
              'GRANT CONNECT ON DATABASE template0 TO "{role}"'),
             ("ALTER DATABASE template0 ALLOW_CONNECTIONS false",
              'REVOKE CONNECT ON DATABASE template0 FROM "{role}"'), rule=_RULE),
        lift_endpoints=_IDLE, dbname="template0"),
    _nowhere("enter-control", "tenantry_control",
        "the control cluster has no network (`listen_addresses = ''`)"),
    _nowhere("enter-by-string", "x host=/tmp port=1", "a name is a name, and no connection string"),
    _nowhere("enter-invisibly", "{foreign}\u200b", "names are compared byte by byte"),
    arrival("console", "database `pgbouncer`", "`host pgbouncer all … reject` in PgBouncer's rules",
"login rejected", None,
        endpoints=(POOLED,), dbname="pgbouncer"),
    arrival("console-as-pgbouncer", "database and user `pgbouncer`",
        "`host pgbouncer all … reject` in PgBouncer's rules",
        "login rejected", None, endpoints=(POOLED,), dbname="pgbouncer", user="pgbouncer"),
    _nowhere("console-in-capitals", "PGBOUNCER", "names are compared letter by letter"),
    _user("be-admin", "tenantry_admin"),
    _user("be-platform", "tenantry_platform", "postgres"),
    _user("be-pooler", "tenantry_pooler", "tenantry_auth"),
    arrival("be-owner", "user `tenantry_owner`", "`NOLOGIN`, and refused by name",
        {DIRECT: "pg_hba.conf rejects connection", POOLED: "login rejected|no such user"},
        Lift(("ALTER ROLE tenantry_owner LOGIN",
              'GRANT CONNECT ON DATABASE "{database}" TO tenantry_owner'),
             ("ALTER ROLE tenantry_owner NOLOGIN",
              'REVOKE ALL ON DATABASE "{database}" FROM tenantry_owner'),
             rule="hostssl all tenantry_owner 0.0.0.0/0 trust"),
        user="tenantry_owner"),
    arrival("be-arrival-role", "user `{database}`", "`NOLOGIN`, and no password",
        {DIRECT: "authentication failed", POOLED: "no such user"},
        Lift(('ALTER ROLE "{database}" LOGIN',
              'GRANT CONNECT ON DATABASE "{database}" TO "{database}"'),
             ('ALTER ROLE "{database}" NOLOGIN',
              'REVOKE CONNECT ON DATABASE "{database}" FROM "{database}"'),
             rule='hostssl all "{database}" 0.0.0.0/0 trust'),
        user="{database}"),
    arrival("be-neighbour", "user `{neighbour}` with one's own password", "SCRAM",
        "authentication failed", Lift(rule='hostssl all "{neighbour}" 0.0.0.0/0 trust'),
        user="{neighbour}", dbname="{foreign}"),
    _nobody("be-admin-in-capitals", "TENANTRY_ADMIN"),
    _nobody("be-admin-in-quotes", '"tenantry_admin"'),
    _nobody("be-admin-with-a-tab", "tenantry_admin\t"),
    arrival("replicate", "`replication=true`",
        "`all` in `pg_hba.conf` is no replication, and the role is `NOREPLICATION`",
        {DIRECT: "no pg_hba.conf entry for replication", POOLED: "no authentication method"},
        Lift(('ALTER ROLE "{role}" REPLICATION',), ('ALTER ROLE "{role}" NOREPLICATION',),
             rule='hostssl replication "{role}" 0.0.0.0/0 scram-sha-256'), replication="true"),
    arrival("replicate-logically", "`replication=database`", "the role is `NOREPLICATION`",
        {DIRECT: "must be superuser or replication role|permission denied to start WAL sender",
         POOLED: "login failed|must be superuser|permission denied"},
        attribute("REPLICATION"), replication="database"),
    _options("options-log", "-c log_statement=all", "permission denied to set parameter",
        grant("SET ON PARAMETER log_statement")),
    _options("options-temp", "-c temp_file_limit=-1", "permission denied to set parameter",
        grant("SET ON PARAMETER temp_file_limit")),
    _options("options-role", "-c role=tenantry_owner", "permission denied to set role",
        grant("tenantry_owner")),
    _options("options-authorization", "-c session_authorization=tenantry_admin",
        "permission denied to set session authorization", None),
    arrival("options-search-path", "`options=-c search_path=evil`, through the pooler",
        "not in PgBouncer's `track_extra_parameters` (CVE-2025-12819: its lookup would run with"
        " it)",
        "unsupported startup parameter in options", None,
        endpoints=(POOLED,), options="-c search_path=evil"),
    Attempt("startup-search-path", "startup parameter `search_path`, through the pooler",
        "not in PgBouncer's `track_extra_parameters` (CVE-2025-12819)",
        _raw("search_path", "evil"), "unsupported startup parameter",
        Lift(pooler_setting=("ignore_startup_parameters", "extra_float_digits,search_path")),
        endpoints=(POOLED,), lift_endpoints=(POOLED,)),
    Attempt("two-users", "two users in one startup packet: one's own, then `tenantry_admin`",
        "the last one counts everywhere, and is refused by name", _twice,
        {DIRECT: "pg_hba.conf rejects connection", POOLED: "login rejected|no such user"},
        Lift(rule="hostssl all tenantry_admin 0.0.0.0/0 scram-sha-256")),
    arrival("plaintext", "`sslmode=disable`",
        "only `hostssl` rules; `client_tls_sslmode = require`",
        {DIRECT: "no encryption", POOLED: "SSL required"},
        Lift(rule='host all "{role}" 0.0.0.0/0 scram-sha-256',
             pooler_rule="host all all 0.0.0.0/0 scram-sha-256",
             pooler_setting=("client_tls_sslmode", "allow")),
        lift_endpoints=_BOTH, sslmode="disable"),
    Attempt("old-tls", "TLS 1.1",
        "`ssl_min_protocol_version = TLSv1.2`; `client_tls_protocols = secure`",
        _old_tls, "(?i)alert protocol version",
        Lift(("ALTER SYSTEM SET ssl_min_protocol_version = 'TLSv1.1'",
              "ALTER SYSTEM SET ssl_ciphers = 'ALL:@SECLEVEL=0'", "SELECT pg_reload_conf()"),
             ("ALTER SYSTEM RESET ssl_min_protocol_version", "ALTER SYSTEM RESET ssl_ciphers",
              "SELECT pg_reload_conf()"))),
)  # fmt: skip
