"""The attempts on the server itself and on code of one's own in it. See attempts.py."""

from attempts import SUPERUSER, Attempt, Lift, attribute, grant, statement

_SUPER = "for superusers only; the role is `NOSUPERUSER`"
_NOBODY = "PostgreSQL grants it to nobody"
_PARAMETER = "a parameter for superusers (`SUSET`); no `GRANT SET ON PARAMETER`"
_UNTRUSTED = "not a trusted extension"
_PASSWORD = "`password_required`: a local login proves itself by `peer`, not by a password"
_REPLICATION = "the role is `NOREPLICATION`"
_CATALOG = "`pg_catalog` belongs to `tenantry_admin`"


def _execute(function: str) -> Lift:
    return grant(f"EXECUTE ON FUNCTION {function}")


def _parameter(name: str, value: str) -> Attempt:
    return statement(
        f"set-{name.replace('_', '-')}", f"SET {name} = {value}", _PARAMETER,
        grant(f"SET ON PARAMETER {name}"),
    )  # fmt: skip


SERVER: tuple[Attempt, ...] = (
    statement("reload", "SELECT pg_reload_conf()", _NOBODY, _execute("pg_reload_conf()")),
    statement("rotate-log", "SELECT pg_rotate_logfile()", _NOBODY,
        _execute("pg_rotate_logfile()")),
    statement("log-memory", "SELECT pg_log_backend_memory_contexts({neighbour_pid})", _NOBODY,
        _execute("pg_log_backend_memory_contexts(int)")),
    statement("switch-wal", "SELECT pg_switch_wal()", _NOBODY, _execute("pg_switch_wal()")),
    statement("restore-point", "SELECT pg_create_restore_point('x')", _NOBODY,
        _execute("pg_create_restore_point(text)")),
    statement("begin-backup", "SELECT pg_backup_start('x', true)", _NOBODY,
        _execute("pg_backup_start(text, bool)"), endpoints=("direct",)),
    statement("promote", "SELECT pg_promote()", _NOBODY, None),
    statement("checkpoint", "CHECKPOINT", "not a member of `pg_checkpoint`",
        SUPERUSER),
    statement("reset-statistics", "SELECT pg_stat_reset()", _NOBODY, _execute("pg_stat_reset()")),
    statement("reset-all-statistics", "SELECT pg_stat_reset_shared('bgwriter')", _NOBODY,
        _execute("pg_stat_reset_shared(text)")),
    statement("alter-system", "ALTER SYSTEM SET work_mem = '1GB'", _SUPER, SUPERUSER, alone=True),
    statement("allow-parameter", 'GRANT SET ON PARAMETER log_statement TO "{role}"', _SUPER,
        SUPERUSER),
    _parameter("temp_file_limit", "-1"),
    _parameter("log_statement", "'all'"),
    _parameter("log_min_messages", "debug5"),
    _parameter("log_min_error_statement", "error"),
    _parameter("log_min_duration_statement", "0"),
    _parameter("session_preload_libraries", "'x'"),
    _parameter("session_replication_role", "replica"),
    _parameter("allow_system_table_mods", "on"),
    _parameter("zero_damaged_pages", "on"),
    _parameter("track_activities", "off"),
    statement("keep-log-statement", "ALTER ROLE \"{role}\" SET log_statement = 'all'", _PARAMETER,
        grant("SET ON PARAMETER log_statement")),
    statement("keep-preload", "ALTER ROLE \"{role}\" SET session_preload_libraries = 'x'",
        _PARAMETER, grant("SET ON PARAMETER session_preload_libraries")),
    statement("set-wal-level", "SET wal_level = logical",
        "set at start only", None, "55P02"),
    statement("set-max-connections", "SET max_connections = 10000", "set at start only", None,
        "55P02"),
    statement("physical-slot", "SELECT pg_create_physical_replication_slot('s', false, true)",
        _REPLICATION, attribute("REPLICATION")),
    statement("logical-slot",
        "SELECT pg_create_logical_replication_slot('s', 'test_decoding', true)",
        f"{_REPLICATION}; `wal_level = replica`",
        None),
    statement("drop-slot", "SELECT pg_drop_replication_slot('s')", _REPLICATION,
        None),
    statement("publish-everything", "CREATE PUBLICATION p FOR ALL TABLES", _SUPER, SUPERUSER),
    statement("subscribe",
        "CREATE SUBSCRIPTION s CONNECTION 'host={socket} user=tenantry_admin' PUBLICATION p"
        " WITH (connect = false)", _SUPER, SUPERUSER),
    statement("replication-origin", "SELECT pg_replication_origin_create('x')", _NOBODY,
        SUPERUSER),
    statement("prepare-transaction", "BEGIN; PREPARE TRANSACTION 'x'",
        "`max_prepared_transactions = 0`", None, "55000", alone=True),
)  # fmt: skip

_LOGIN = "host={socket} port={port} dbname=postgres user=tenantry_admin"
_CONSOLE = "host={pooler_socket} port={pool_port} dbname=pgbouncer user=pgbouncer"


def _dblink(name: str, how: str, query: str = "SELECT 1", answer: str = "2F003") -> Attempt:
    text = f"SELECT * FROM dblink('{how}', '{query}') AS t (t text)"  # noqa: S608 (constants)
    return statement(name, text, _PASSWORD, SUPERUSER, answer)


def _foreign(name: str, user: str, *, options: str = "", answer: str = "2F003") -> Attempt:
    return statement(
        name,
        "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{socket}',"
        f" port '{{port}}', dbname 'postgres'); CREATE USER MAPPING FOR \"{{role}}\" SERVER s"
        f" OPTIONS (user '{user}'{options}); CREATE FOREIGN TABLE f (datname name) SERVER s"
        " OPTIONS (schema_name 'pg_catalog', table_name 'pg_database'); TABLE f",
        _PASSWORD,
        SUPERUSER,
        answer,
    )


CODE: tuple[Attempt, ...] = (
    statement("c-function",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
        "`c` is no trusted language", None),
    statement("internal-function",
        "CREATE FUNCTION f(cstring) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4in'",
        "`internal` is no trusted language", SUPERUSER),
    statement("event-trigger", "CREATE FUNCTION t() RETURNS event_trigger LANGUAGE plpgsql"
        " AS 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION t()",
        _SUPER, SUPERUSER),
    statement("language", "CREATE LANGUAGE l HANDLER plpgsql_call_handler", _SUPER, SUPERUSER),
    statement("access-method", "CREATE ACCESS METHOD m TYPE INDEX HANDLER bthandler", _SUPER,
        SUPERUSER),
    statement("operator-class", "CREATE OPERATOR CLASS o FOR TYPE int4 USING btree AS STORAGE int4",
        _SUPER, None),
    statement("base-type", "CREATE TYPE b; CREATE FUNCTION i(cstring) RETURNS b LANGUAGE internal"
        " STRICT IMMUTABLE AS 'int4in'", "`internal` is no trusted language", SUPERUSER),
    statement("wrapper", "CREATE FOREIGN DATA WRAPPER w", _SUPER, SUPERUSER),
    statement("text-search-template", "CREATE TEXT SEARCH TEMPLATE x (lexize = dsimple_lexize)",
        _SUPER, SUPERUSER),
    statement("load-library", "LOAD 'auto_explain'",
        "only `$libdir/plugins`, which is empty, may be loaded", SUPERUSER),
    statement("cast-of-others", "CREATE CAST (text AS int4) WITH INOUT AS IMPLICIT",
        "owners of one of the types only", SUPERUSER),
    statement("plant-in-catalog", "CREATE FUNCTION pg_catalog.f() RETURNS int LANGUAGE sql"
        " AS 'SELECT 1'", _CATALOG, grant("CREATE ON SCHEMA pg_catalog")),
    statement("plant-table-in-catalog", "CREATE TABLE pg_catalog.t (i int)", _CATALOG, None),
    statement("write-catalog",
        "UPDATE pg_database SET datconnlimit = -1 WHERE datname = '{database}'", _CATALOG,
        SUPERUSER),
    statement("write-memberships",
        "INSERT INTO pg_auth_members VALUES (10, '\"{role}\"'::regrole, 10, false)", _CATALOG,
        None),
    statement("grant-catalog", 'GRANT SELECT ON pg_authid TO "{role}"', _CATALOG, SUPERUSER),
    *(
        statement(f"extension-{name.replace('_', '-')}", f"CREATE EXTENSION {name}",
            _UNTRUSTED, SUPERUSER)
        for name in ("file_fdw", "adminpack", "pageinspect", "pg_buffercache", "pg_walinspect",
            "pgrowlocks", "amcheck")
    ),
    _dblink("dblink-admin", _LOGIN),
    _dblink("dblink-admin-password", f"{_LOGIN} password=x"),
    _dblink("dblink-platform", "host={socket} port={port} dbname=postgres user=tenantry_platform"),
    _dblink("dblink-console", f"{_CONSOLE} password=x", "SHOW VERSION"),
    statement("dblink-unsafe", f"SELECT dblink_connect_u('{_LOGIN}')",
        "revoked from `PUBLIC` by dblink's own script", _execute("dblink_connect_u(text)")),
    _foreign("fdw-admin", "tenantry_admin"),
    _foreign("fdw-admin-password", "tenantry_admin", options=", password ''x''".replace("''", "'")),
    _foreign("fdw-no-password", "tenantry_admin", options=", password_required 'false'",
        answer="42501"),
)  # fmt: skip
