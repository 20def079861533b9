"""Which parameters the owner of an instance may set, and which values."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.pg.settable import Parameter, Type
from tenantry.services.instances import plan

MEMORY = "Resource Usage / Memory"


def parameter(
    name: str = "work_mem",
    type_: Type = "integer",
    *,
    unit: str | None = "kB",
    least: str | None = "64",
    most: str | None = "2147483647",
    category: str = MEMORY,
    context: str = "user",
    choices: list[str] | None = None,
    value: str = "4MB",
) -> Parameter:
    return Parameter(
        name=name,
        value=value,
        unit=unit,
        type=type_,
        least=least,
        most=most,
        choices=choices,
        initial="4096",
        context=context,
        category=category,
        description="",
        pending_restart=False,
    )


BUFFERS = parameter(
    "shared_buffers", unit="8kB", least="16", most="1073741823", context="postmaster", value="64MB"
)
THERE = {each.name: each for each in (parameter(), BUFFERS)}


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("listen_addresses", "Connections and Authentication / Connection Settings"),
        ("port", "Connections and Authentication / Connection Settings"),
        ("unix_socket_directories", "Connections and Authentication / Connection Settings"),
        ("ssl_key_file", "Connections and Authentication / SSL"),
        ("ssl_passphrase_command", "Connections and Authentication / SSL"),
        ("hba_file", "File Locations"),
        ("data_directory", "File Locations"),
        ("archive_command", "Write-Ahead Log / Archiving"),
        ("archive_mode", "Write-Ahead Log / Archiving"),
        ("restore_command", "Write-Ahead Log / Archive Recovery"),
        ("recovery_target", "Write-Ahead Log / Recovery Target"),
        ("summarize_wal", "Write-Ahead Log / Summarization"),
        ("wal_level", "Write-Ahead Log / Settings"),
        ("fsync", "Write-Ahead Log / Settings"),
        ("full_page_writes", "Write-Ahead Log / Settings"),
        ("primary_conninfo", "Replication / Standby Servers"),
        ("vacuum_defer_cleanup_age", "Replication / Primary Server"),
        ("shared_preload_libraries", "Client Connection Defaults / Shared Library Preloading"),
        ("session_preload_libraries", "Client Connection Defaults / Shared Library Preloading"),
        ("local_preload_libraries", "Client Connection Defaults / Shared Library Preloading"),
        ("dynamic_library_path", "Client Connection Defaults / Other Defaults"),
        ("search_path", "Client Connection Defaults / Statement Behavior"),
        ("default_transaction_read_only", "Client Connection Defaults / Statement Behavior"),
        ("statement_timeout", "Client Connection Defaults / Statement Behavior"),
        ("TimeZone", "Client Connection Defaults / Locale and Formatting"),
        ("DateStyle", "Client Connection Defaults / Locale and Formatting"),
        ("lc_messages", "Client Connection Defaults / Locale and Formatting"),
        ("standard_conforming_strings", "Version and Platform Compatibility / Previous"),
        ("log_statement", "Reporting and Logging / What to Log"),
        ("log_destination", "Reporting and Logging / Where to Log"),
        ("cluster_name", "Reporting and Logging / Process Title"),
        ("allow_system_table_mods", "Developer Options"),
        ("zero_damaged_pages", "Developer Options"),
        ("restart_after_crash", "Error Handling"),
        ("max_connections", "Connections and Authentication / Connection Settings"),
        ("temp_file_limit", "Resource Usage / Disk"),
        ("huge_pages", MEMORY),
        ("autovacuum", "Autovacuum"),
        ("block_size", "Preset Options"),
        ("pg_stat_statements.track", "Customized Options"),
        ("whatever", "A category of a later version"),
    ],
)
def test_what_the_platform_relies_on_is_refused(name: str, category: str) -> None:
    assert parameter(name, category=category).refusal


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("work_mem", MEMORY),
        ("shared_buffers", MEMORY),
        ("autovacuum_naptime", "Autovacuum"),
        ("autovacuum_naptime", "Vacuuming / Automatic Vacuuming"),
        ("vacuum_freeze_min_age", "Client Connection Defaults / Statement Behavior"),
        ("random_page_cost", "Query Tuning / Planner Cost Constants"),
        ("max_wal_size", "Write-Ahead Log / Checkpoints"),
        ("synchronous_commit", "Write-Ahead Log / Settings"),
        ("deadlock_timeout", "Lock Management"),
    ],
)
def test_what_decides_how_a_server_works_may_be_set(name: str, category: str) -> None:
    assert parameter(name, category=category).refusal is None


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (parameter(), "8MB"),
        (parameter(), "64"),
        (parameter(), "1.5 GB"),
        (parameter(unit=None), "70"),
        (parameter("x", "bool"), "on"),
        (parameter("x", "enum", choices=["off", "on"]), "on"),
        (parameter("x", "string"), "pg_catalog.english"),
        (parameter("x", "real", unit="ms", least="-1", most="100"), "-1"),
        (parameter("x", unit="s", least="30", most="86400"), "1d"),
        (parameter("max_wal_size", unit="MB", least="2"), "32MB"),
    ],
)
def test_what_postgresql_takes_is_taken(found: Parameter, text: str) -> None:
    assert found.checked(f" {text} ") == text


@pytest.mark.parametrize(
    ("found", "text", "said"),
    [
        (parameter(), "", "must be a number, such as 8MB"),
        (parameter(), "lots", "must be a number, such as 8MB"),
        (parameter(), "8M", "no such unit as M"),
        (parameter(), "8mb", "no such unit as mb"),
        (parameter(), "5s", "no such unit as s"),
        (parameter(), "63", "at least 64 kB"),
        (parameter(), "2TB", "at most 2147483647 kB"),
        (parameter(), "8MB; x", "must be a number"),
        (parameter(), "٣", "must be a number"),
        (parameter(unit=None), "70kB", "without a unit"),
        (parameter(unit=None), "70.5", "must be a whole number"),
        (BUFFERS, "15", "at least 128 kB"),
        (parameter("x", "bool"), "maybe", "on or off"),
        (parameter("x", "enum", choices=["off", "on"]), "no", "one of off, on"),
        (parameter("x", "string"), "x" * 1001, "at most 1,000 characters"),
        (parameter("x", unit="s", least="30", most="86400"), "1ms", "at least 30 s"),
        (parameter("min_wal_size", unit="MB", least="2"), "2MB", "at least 32MB"),
        (parameter("max_wal_size", unit="MB", least="2"), "1TB", "at most 8GB"),
    ],
)
def test_what_postgresql_does_not_take_is_refused(found: Parameter, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        found.checked(text)


@given(st.integers(1, 10**6), st.sampled_from(["kB", "MB", "GB"]))
def test_a_size_is_the_same_in_every_unit(count: int, unit: str) -> None:
    factor = {"kB": 1, "MB": 1024, "GB": 1024**2}[unit]
    of_kilobytes = parameter()
    assert of_kilobytes.amount(f"{count}{unit}") == count * factor
    assert of_kilobytes.amount(f"{count}{unit}") == of_kilobytes.amount(str(count * factor))
    assert BUFFERS.amount(f"{count}{unit}") * 8 == count * factor


@given(st.text(max_size=40))
def test_no_text_is_taken_for_a_number_that_it_is_not(text: str) -> None:
    try:
        checked = parameter().checked(text)
    except ValueError:
        return
    assert checked.isascii()
    assert checked[0].isdigit() or checked[0] in "+.-"
    assert Decimal(64) <= parameter().amount(checked).to_integral_value() <= 2147483647


@given(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz")),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz")),
    st.sets(st.sampled_from("abcd")),
)
def test_files_change_by_what_needs_no_restart_only(
    wanted: dict[str, str], in_files: dict[str, str], restarts: set[str]
) -> None:
    now, later = plan.divided(wanted, in_files, restarts)
    for name in "abcd":
        assert now.get(name) == (in_files if name in restarts else wanted).get(name)
    assert (now if later is None else later) == wanted
    assert (later is None) == (now == wanted)


def test_each_parameter_has_its_own_fault() -> None:
    with pytest.raises(InvalidInput) as refused:
        plan.checked(
            {"work_men": "1MB", "WORK_MEM": "1kB", "shared_buffers": "lots"}, THERE, memory_mb=256
        )
    faults = {each.field: each for each in refused.value.fields}
    assert faults["parameters.work_men"].code == "unknown_parameter"
    assert "work_mem?" in faults["parameters.work_men"].message
    assert "at least 64 kB" in faults["parameters.WORK_MEM"].message
    assert "number" in faults["parameters.shared_buffers"].message


def test_names_are_those_of_the_server() -> None:
    found = plan.checked({"WORK_MEM": " 8MB", "Shared_Buffers": None}, THERE, memory_mb=256)
    assert found == {"work_mem": "8MB", "shared_buffers": None}


def test_buffers_leave_room_for_sessions() -> None:
    plan.checked({"shared_buffers": "128MB"}, THERE, memory_mb=256)
    with pytest.raises(InvalidInput, match="more than half"):
        plan.checked({"shared_buffers": "129MB"}, THERE, memory_mb=256)


def test_what_runs_is_not_shrunk_below_what_it_needs() -> None:
    mib = 1 << 20
    plan.require_fits("64MB", 100 * mib, 128)
    with pytest.raises(Conflict, match="needs 140 MiB"):
        plan.require_fits("64MB", 140 * mib, 139)
    with pytest.raises(Conflict, match="needs 128 MiB"):
        plan.require_fits("64MB", 10 * mib, 127)


@pytest.mark.parametrize(
    ("unit", "initial", "shown"),
    [("8kB", "16384", "131072kB"), ("kB", "-1", "-1"), (None, "1.1", "1.1"), ("ms", "2", "2ms")],
)
def test_a_default_has_its_unit(unit: str | None, initial: str, shown: str) -> None:
    found = parameter(unit=unit)
    object.__setattr__(found, "initial", initial)
    assert found.default == shown
