"""The attempts that are SQL statements. See attempts.py for what each part means."""

from collections.abc import Callable

from attempts import (
    DIRECT,
    NOTHING,
    SUPERUSER,
    THROUGH,
    Attempt,
    Lift,
    Scenario,
    attribute,
    grant,
    owning,
    statement,
)
from clients import login

_SUPER = "for superusers only; the role is `NOSUPERUSER`"
_NOBODY = "PostgreSQL grants it to nobody"
_OWNER = "the database belongs to `tenantry_owner`, of which the tenant is no member"
_TEMPLATE = "revoked from `PUBLIC` in `tenantry_template`"
_CREATEROLE = "the role is `NOCREATEROLE`"
_PARAMETER = "a parameter for superusers (`SUSET`); no `GRANT SET ON PARAMETER`"

_OWNED = owning("{database}")


def _execute(*functions: str) -> Lift:
    return grant(f"EXECUTE ON FUNCTION {', '.join(functions)}")


LIMITS: tuple[Attempt, ...] = (
    statement(
        "raise-role-limit", 'ALTER ROLE "{role}" CONNECTION LIMIT -1', _CREATEROLE,
        attribute("CREATEROLE"),
    ),
    statement("become-superuser", 'ALTER ROLE "{role}" SUPERUSER', _SUPER, SUPERUSER),
    statement("become-createdb", 'ALTER ROLE "{role}" CREATEDB', _CREATEROLE, SUPERUSER),
    statement("become-createrole", 'ALTER ROLE "{role}" CREATEROLE', _CREATEROLE, SUPERUSER),
    statement("become-replication", 'ALTER ROLE "{role}" REPLICATION', _SUPER, SUPERUSER),
    statement("become-bypassrls", 'ALTER ROLE "{role}" BYPASSRLS', _SUPER, SUPERUSER),
    statement("outlive", "ALTER ROLE \"{role}\" VALID UNTIL 'infinity'", _CREATEROLE, SUPERUSER),
    statement(
        "raise-database-limit", 'ALTER DATABASE "{database}" CONNECTION LIMIT -1', _OWNER, _OWNED
    ),
    statement(
        "set-for-database", "ALTER DATABASE \"{database}\" SET work_mem = '10GB'", _OWNER, _OWNED
    ),
    statement(
        "rename-database", 'ALTER DATABASE "{shadow}" RENAME TO mine', _OWNER,
        owning("{shadow}"),
    ),
    statement("own-database", 'ALTER DATABASE "{database}" OWNER TO "{role}"', _OWNER, SUPERUSER),
    statement(
        "make-template", 'ALTER DATABASE "{database}" IS_TEMPLATE true', _OWNER, _OWNED
    ),
    statement("drop-foreign-database", 'DROP DATABASE "{foreign_shadow}" WITH (FORCE)', _OWNER,
        SUPERUSER, alone=True),
    statement("create-database", "CREATE DATABASE mine TEMPLATE template0",
        "the role is `NOCREATEDB`",
        attribute("CREATEDB"), alone=True),
    statement("create-role", "CREATE ROLE tenantry_mine", _CREATEROLE, attribute("CREATEROLE")),
    statement("rename-role", 'ALTER ROLE "{role}" RENAME TO tenantry_mine',
        "PostgreSQL renames no session's own role", None, "0A000"),
    statement("comment-on-database", "COMMENT ON DATABASE \"{database}\" IS 'x'", _OWNER, _OWNED),
    statement("comment-on-role", "COMMENT ON ROLE \"{role}\" IS 'x'", _CREATEROLE,
        attribute("CREATEROLE")),
)  # fmt: skip

OTHERS: tuple[Attempt, ...] = (
    statement("become-owner", "SET ROLE tenantry_owner", "no membership",
        grant("tenantry_owner")),
    statement("become-platform", "SET ROLE tenantry_platform", "no membership",
        grant("tenantry_platform")),
    statement("become-pooler", "SET ROLE tenantry_pooler", "no membership",
        grant("tenantry_pooler")),
    statement("become-admin", "SET SESSION AUTHORIZATION tenantry_admin", _SUPER, SUPERUSER,
        endpoints=(DIRECT,)),
    statement("become-neighbour", 'SET ROLE "{neighbour}"', "no membership",
        grant('"{neighbour}"')),
    statement("join-owner", 'GRANT tenantry_owner TO "{role}"', "no admin option",
        Lift(('GRANT tenantry_owner TO "{role}" WITH ADMIN OPTION',),
            ('REVOKE tenantry_owner FROM "{role}"',))),
    statement("join-neighbour", 'GRANT "{neighbour}" TO "{role}"', "no admin option",
        attribute("CREATEROLE")),
    statement("have-neighbour-join", 'GRANT "{role}" TO "{neighbour}"',
        "no admin option on oneself (PostgreSQL 15); it would also lift the neighbour's allowlist",
        attribute("CREATEROLE")),
    statement("admit-neighbour", 'GRANT "{foreign}" TO "{neighbour}"', "no admin option",
        attribute("CREATEROLE")),
    statement("join-read-all", 'GRANT pg_read_all_data TO "{role}"', "no admin option",
        attribute("CREATEROLE")),
    statement("join-read-files", 'GRANT pg_read_server_files TO "{role}"', "no admin option",
        attribute("CREATEROLE")),
    statement("join-run-programs", 'GRANT pg_execute_server_program TO "{role}"',
        "no admin option", attribute("CREATEROLE")),
    statement("join-monitor", 'GRANT pg_monitor TO "{role}"', "no admin option",
        attribute("CREATEROLE")),
    statement("join-signal", 'GRANT pg_signal_backend TO "{role}"', "no admin option",
        attribute("CREATEROLE")),
    statement("become-service-role", "SET ROLE service_role", "no membership",
        grant("service_role")),
    statement("join-anon", 'GRANT anon TO "{role}"', "no admin option",
        attribute("CREATEROLE")),
    statement("have-anon-join", 'GRANT "{role}" TO anon', "no admin option on oneself",
        attribute("CREATEROLE")),
    statement("settings-of-anon", "ALTER ROLE anon SET work_mem = '64kB'", _CREATEROLE,
        attribute("CREATEROLE")),
    statement("comment-on-anon", "COMMENT ON ROLE anon IS 'mine'", _CREATEROLE,
        attribute("CREATEROLE")),
    statement("drop-owned-by-anon", "DROP OWNED BY anon", "no membership", grant("anon")),
    statement("password-of-neighbour", "ALTER ROLE \"{neighbour}\" PASSWORD 'known'", _CREATEROLE,
        attribute("CREATEROLE")),
    statement("settings-of-neighbour", "ALTER ROLE \"{neighbour}\" SET work_mem = '64kB'",
        _CREATEROLE, attribute("CREATEROLE")),
    statement("limit-of-neighbour", 'ALTER DATABASE "{foreign}" CONNECTION LIMIT 0', _OWNER,
        grant("tenantry_owner")),
    statement("drop-neighbour", 'DROP ROLE "{neighbour}"', _CREATEROLE, None),
    statement("drop-owned-by-neighbour", 'DROP OWNED BY "{neighbour}"', "no membership",
        grant('"{neighbour}"')),
    statement("reassign-owner", 'REASSIGN OWNED BY tenantry_owner TO "{role}"', "no membership",
        # From 15.19 on, giving databases away takes CREATEDB besides.
        Lift(
            ('GRANT tenantry_owner TO "{role}"', 'ALTER ROLE "{role}" CREATEDB'),
            ('REVOKE tenantry_owner FROM "{role}"', 'ALTER ROLE "{role}" NOCREATEDB'),
        )),
    statement("settings-of-all", "ALTER ROLE ALL SET work_mem = '1GB'", _SUPER, SUPERUSER),
    statement("end-neighbour", "SELECT pg_cancel_backend({neighbour_pid})",
        "neither the neighbour's role nor `pg_signal_backend`", grant("pg_signal_backend")),
    statement("end-platform", "SELECT pg_cancel_backend({platform_pid})",
        "neither the platform's role nor `pg_signal_backend`", grant("pg_signal_backend")),
)  # fmt: skip

_SHOWN = "the view shows rows of databases that the login may connect to"
_CONNECT = grant('CONNECT ON DATABASE "{foreign}"')
_MEMBER = grant('"{neighbour}"')


def _see(
    name: str, shown: str, how: Callable[[Scenario, str], bool], lift: Lift = _CONNECT
) -> Attempt:
    """An attempt that gets through if it sees something of the neighbour's."""

    def tries(scenario: Scenario, endpoint: str) -> str:
        return THROUGH if how(scenario, endpoint) else NOTHING

    return Attempt(name, shown, _SHOWN, tries, NOTHING, lift)


def _found(scenario: Scenario, endpoint: str, query: str) -> bool:
    with login(scenario.url(endpoint)) as session:
        return session.execute(query.format(**scenario.words).encode()).fetchone() is not None


def _progress(scenario: Scenario, endpoint: str) -> bool:
    with login(scenario.neighbours_url(DIRECT)) as neighbour:
        neighbour.execute("CREATE TEMPORARY TABLE copied (i int)")
        with neighbour.cursor().copy("COPY copied FROM STDIN"):
            query = "SELECT FROM pg_stat_progress_copy WHERE datname = '{foreign}'"
            return _found(scenario, endpoint, query)


def _locks(scenario: Scenario, endpoint: str) -> bool:
    with login(scenario.neighbours_url(DIRECT)) as neighbour:
        neighbour.execute("SELECT pg_advisory_lock(4713)")
        pid = neighbour.info.backend_pid
        return _found(scenario, endpoint, f"SELECT FROM pg_locks WHERE pid = {pid}")


def _leaky_condition(scenario: Scenario, endpoint: str) -> bool:
    """A cheap function in the condition, which the planner would like to have first."""
    with login(scenario.url(endpoint)) as session, session.transaction(force_rollback=True):
        session.execute(
            "CREATE TEMPORARY TABLE met (pid int);"
            " CREATE FUNCTION pg_temp.meet(int) RETURNS boolean LANGUAGE sql COST 0.0001"
            " AS 'INSERT INTO met VALUES ($1) RETURNING true'"
        )
        session.execute("SELECT FROM pg_stat_activity WHERE pg_temp.meet(pid) AND datname <> ''")
        query = "SELECT FROM met WHERE pid = {neighbour_pid}".format(**scenario.words)
        return session.execute(query.encode()).fetchone() is not None


def _planted_names(scenario: Scenario, endpoint: str) -> bool:
    """What the view's functions call, by other definitions that come first."""
    with login(scenario.url(endpoint)) as session, session.transaction(force_rollback=True):
        session.execute(
            "CREATE FUNCTION public.has_database_privilege(oid, oid, text) RETURNS boolean"
            " RETURN true;"
            " CREATE FUNCTION public.tenantry_sessions() RETURNS TABLE (pid int, permitted boolean)"
            " LANGUAGE sql AS 'SELECT pid, true FROM pg_stat_activity';"
            " CREATE TEMPORARY VIEW pg_database AS SELECT oid, datname FROM pg_catalog.pg_database;"
            " SET LOCAL search_path = pg_temp, public, pg_catalog"
        )
        query = "SELECT FROM pg_stat_activity WHERE pid = {neighbour_pid}".format(**scenario.words)
        return session.execute(query.encode()).fetchone() is not None


def _rows(name: str, query: str, lift: Lift = _CONNECT) -> Attempt:
    return _see(
        name, f"`{query}`", lambda scenario, endpoint: _found(scenario, endpoint, query), lift
    )


SIGHT: tuple[Attempt, ...] = (
    _rows("see-sessions",
        "SELECT FROM pg_stat_activity WHERE pid = {neighbour_pid} OR datname = '{foreign}'"),
    _rows("see-sessions-by-function",
        "SELECT FROM tenantry_pg_stat_activity() WHERE pid = {neighbour_pid}"),
    statement("see-sessions-raw", "SELECT pg_stat_get_activity(NULL)", _TEMPLATE,
        _execute("pg_stat_get_activity(int)")),
    statement("see-sessions-listed", "SELECT tenantry_sessions()", _TEMPLATE,
        _execute("tenantry_sessions()")),
    _see("see-by-leaky-condition", "a function in a condition on `pg_stat_activity` that remembers"
        " whom it met", _leaky_condition),
    _see("see-by-planted-names", "functions and views of one's own in place of those that"
        " `pg_stat_activity` calls", _planted_names),
    statement("replace-what-is-shown",
        "CREATE OR REPLACE FUNCTION pg_catalog.tenantry_sessions() RETURNS TABLE (pid int,"
        " permitted boolean) LANGUAGE sql AS 'SELECT 1, true'",
        "`pg_catalog` belongs to `tenantry_admin`", SUPERUSER),
    statement("see-backends", "SELECT pg_stat_get_backend_idset()", _TEMPLATE,
        _execute("pg_stat_get_backend_idset()")),
    statement("see-backends-users", "SELECT pg_stat_get_backend_userid(1)", _TEMPLATE,
        _execute("pg_stat_get_backend_userid(int)")),
    statement("stop-counting", "SET pg_stat_statements.track = 'none'", _PARAMETER,
        grant("SET ON PARAMETER pg_stat_statements.track")),
    statement("count-utilities", "SET pg_stat_statements.track_utility = 'on'", _PARAMETER,
        grant("SET ON PARAMETER pg_stat_statements.track_utility")),
    _rows("see-tls", "SELECT FROM pg_stat_ssl WHERE pid = {neighbour_pid}", _MEMBER),
    _rows("see-gssapi", "SELECT FROM pg_stat_gssapi WHERE pid = {neighbour_pid}", _MEMBER),
    statement("see-standbys", "SELECT count(*) FROM pg_stat_replication", _TEMPLATE,
        _execute("pg_stat_get_activity(int)")),
    _rows("see-counters", "SELECT FROM pg_stat_database WHERE datname = '{foreign}'"),
    statement("see-counters-raw", "SELECT pg_stat_get_db_xact_commit(oid) FROM pg_database",
        _TEMPLATE, _execute("pg_stat_get_db_xact_commit(oid)")),
    _rows("see-conflicts", "SELECT FROM pg_stat_database_conflicts WHERE datname = '{foreign}'"),
    _see("see-progress", "`pg_stat_progress_copy`, while a neighbour copies", _progress),
    statement("see-progress-raw", "SELECT count(*) FROM pg_stat_get_progress_info('COPY')",
        _TEMPLATE,
        _execute("pg_stat_get_progress_info(text)")),
    _see("see-locks", "`pg_locks`, while a neighbour holds an advisory lock", _locks),
    statement("see-locks-raw", "SELECT pg_lock_status()", _TEMPLATE,
        _execute("pg_lock_status()")),
    statement("see-who-waits", "SELECT pg_blocking_pids({neighbour_pid})",
        "the function answers for sessions in databases that the login may connect to", _CONNECT),
    statement("see-who-waits-raw", "SELECT pg_blocking_pids_of_all({neighbour_pid})", _TEMPLATE,
        _execute("pg_blocking_pids_of_all(int)")),
    statement("see-who-waits-by-test",
        "SELECT pg_isolation_test_session_is_blocked({neighbour_pid}, ARRAY[1])", _TEMPLATE,
        _execute("pg_isolation_test_session_is_blocked(int, int[])")),
    statement("see-slots", "SELECT count(*) FROM pg_replication_slots", _TEMPLATE,
        _execute("pg_get_replication_slots()")),
    statement("see-subscriptions", "SELECT count(*) FROM pg_stat_subscription", _TEMPLATE,
        _execute("pg_stat_get_subscription(oid)")),
    statement("size-of-neighbour", "SELECT pg_database_size('{foreign}')",
        "needs `CONNECT` there or `pg_read_all_stats`", grant("pg_read_all_stats")),
    statement("size-of-all", "SELECT pg_tablespace_size('pg_default')", _TEMPLATE,
        _execute("pg_tablespace_size(name)")),
    statement("see-verifiers", "SELECT rolpassword FROM pg_authid", _NOBODY,
        grant("SELECT ON pg_authid")),
    statement("see-verifiers-shadow", "SELECT passwd FROM pg_shadow", _NOBODY,
        grant("SELECT ON pg_shadow")),
    statement("see-subscriptions-strings", "SELECT subconninfo FROM pg_subscription",
        _NOBODY, Lift(('GRANT SELECT ON pg_subscription TO "{role}"',
            "CREATE SUBSCRIPTION probe CONNECTION '' PUBLICATION p WITH (connect = false)"),
            ("ALTER SUBSCRIPTION probe SET (slot_name = NONE)", "DROP SUBSCRIPTION probe",
             'REVOKE SELECT ON pg_subscription FROM "{role}"'))),
    statement("see-rules", "TABLE pg_hba_file_rules", _NOBODY,
        Lift(('GRANT SELECT ON pg_hba_file_rules TO "{role}"',
              'GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO "{role}"'),
             ('REVOKE SELECT ON pg_hba_file_rules FROM "{role}"',
              'REVOKE EXECUTE ON FUNCTION pg_hba_file_rules() FROM "{role}"'))),
    statement("see-maps", "TABLE pg_ident_file_mappings", _NOBODY,
        Lift(('GRANT SELECT ON pg_ident_file_mappings TO "{role}"',
              'GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO "{role}"'),
             ('REVOKE SELECT ON pg_ident_file_mappings FROM "{role}"',
              'REVOKE EXECUTE ON FUNCTION pg_ident_file_mappings() FROM "{role}"'))),
    statement("see-configuration-files",
        "SELECT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL",
        "not a member of `pg_read_all_settings`", grant("pg_read_all_settings"), NOTHING),
    statement("see-data-directory", "SHOW data_directory",
        "not a member of `pg_read_all_settings`", grant("pg_read_all_settings")),
    statement("see-sockets", "SHOW unix_socket_directories",
        "not a member of `pg_read_all_settings`", grant("pg_read_all_settings")),
    statement("see-memory", "TABLE pg_shmem_allocations", _NOBODY,
        grant("pg_read_all_stats")),
    statement("see-prepared", "SELECT 1 FROM pg_prepared_xacts",
        "`max_prepared_transactions = 0`: there are none", None, NOTHING),
    statement("see-names",
        "SELECT 1 FROM (SELECT d::text FROM pg_database d UNION ALL SELECT r::text FROM pg_roles r"
        " UNION ALL SELECT description FROM pg_shdescription"
        " UNION ALL SELECT s::text FROM pg_db_role_setting s) AS t (t)"
        " WHERE t ILIKE '%{email}%' OR t ILIKE '%{friendly}%'",
        "friendly names and e-mail addresses are in the control database only",
        Lift(("COMMENT ON DATABASE \"{foreign}\" IS '{email}'",),
             ('COMMENT ON DATABASE "{foreign}" IS NULL',)), NOTHING),
    statement("see-statements", "CREATE EXTENSION pg_stat_statements",
        "not a trusted extension", SUPERUSER),
)  # fmt: skip

FILES: tuple[Attempt, ...] = (
    statement("read-file", "SELECT pg_read_file('PG_VERSION')", _NOBODY,
        _execute("pg_read_file(text)")),
    statement("read-binary-file", "SELECT pg_read_binary_file('PG_VERSION')", _NOBODY,
        _execute("pg_read_binary_file(text)")),
    statement("stat-file", "SELECT pg_stat_file('PG_VERSION')", _NOBODY,
        _execute("pg_stat_file(text)")),
    statement("list-folder", "SELECT pg_ls_dir('.')", _NOBODY, _execute("pg_ls_dir(text)")),
    statement("list-logs", "SELECT pg_ls_logdir()", _NOBODY, _execute("pg_ls_logdir()")),
    statement("list-wal", "SELECT pg_ls_waldir()", _NOBODY, _execute("pg_ls_waldir()")),
    statement("list-temporary-files", "SELECT count(*) FROM pg_ls_tmpdir()", _NOBODY,
        _execute("pg_ls_tmpdir()")),
    statement("import-file", "SELECT lo_import('/etc/hostname')", _NOBODY,
        Lift(('GRANT EXECUTE ON FUNCTION lo_import(text) TO "{role}"',),
             ('REVOKE EXECUTE ON FUNCTION lo_import(text) FROM "{role}"',))),
    statement("export-file", "SELECT lo_create(1); SELECT lo_export(1, '/dev/null')", _NOBODY,
        _execute("lo_export(oid, text)")),
    statement("copy-to-file", "COPY (SELECT 1) TO '/dev/null'",
        "not a member of `pg_write_server_files`", grant("pg_write_server_files")),
    statement("copy-from-file", "CREATE TABLE c (t text); COPY c FROM '/etc/hostname'",
        "not a member of `pg_read_server_files`", grant("pg_read_server_files")),
    statement("copy-to-program", "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'",
        "not a member of `pg_execute_server_program`", grant("pg_execute_server_program")),
    statement("copy-from-program", "CREATE TABLE c (t text); COPY c FROM PROGRAM 'echo'",
        "not a member of `pg_execute_server_program`", grant("pg_execute_server_program")),
    statement("tablespace", "CREATE TABLESPACE mine LOCATION '{socket}'", _SUPER, None,
        alone=True),
    statement("global-tablespace", "CREATE TABLE t (i int) TABLESPACE pg_global",
        "`pg_global` is granted to nobody", None),
    statement("foreign-large-object-settings", "SET lo_compat_privileges = on", _PARAMETER,
        grant("SET ON PARAMETER lo_compat_privileges")),
    statement("read-large-objects", "SELECT count(*) FROM pg_largeobject", _NOBODY,
        grant("SELECT ON pg_largeobject")),
)  # fmt: skip
