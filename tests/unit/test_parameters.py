"""A cluster's parameters: sizes that fit their machine, values that stay values."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.pg import parameters
from tenantry.pg.parameters import Machine

MIB = 1024 * 1024
memories = st.integers(256, 4 * 1024 * 1024)  # MiB


def read(text: str) -> dict[str, str]:
    """The file's settings, as PostgreSQL unquotes them (manual, section 20.1.2)."""
    found = {}
    for line in text.splitlines()[1:-1]:
        name, _, quoted = line.partition(" = ")
        assert re.fullmatch(r"'(?:[^'\\]|''|\\\\)*'", quoted), quoted
        found[name] = re.sub(r"''|\\\\", lambda pair: pair[0][0], quoted[1:-1])
    return found


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]+", fullmatch=True),
        # splitlines() knows more line ends than PostgreSQL does.
        st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])),
    )
)
def test_what_is_rendered_is_read_back_the_same(values: dict[str, str]) -> None:
    text = parameters.render(values)
    assert read(text) == values
    assert text.endswith("\ninclude_if_exists = 'custom.conf'\n")


@given(st.text(), st.sampled_from("\n\r\0"))
def test_a_value_with_a_line_break_is_refused(text: str, letter: str) -> None:
    with pytest.raises(ValueError, match="log_directory"):
        parameters.render({"log_directory": text + letter + text})


@given(memories, st.integers(1, 256))
def test_connections_are_shared_out_within_what_there_are(memory: int, cores: int) -> None:
    sizing = parameters.size(Machine(memory * MIB, cores))
    assert 200 <= sizing.max_connections <= 1000
    assert 0 < sizing.pooled < sizing.max_connections - sizing.reserved
    # One tenant that takes all it can leaves the others and the platform a third and more.
    assert 100 <= sizing.per_database <= (sizing.max_connections - sizing.reserved) * 2 / 3
    assert sizing.shared_buffers_mb <= memory // 4
    assert sizing.effective_cache_mb < memory


@given(memories, memories)
def test_more_memory_never_means_less_of_anything(one: int, other: int) -> None:
    small, large = (parameters.size(Machine(memory * MIB, 4)) for memory in sorted((one, other)))
    for field in small.__dataclass_fields__:
        assert getattr(small, field) <= getattr(large, field)


def test_this_machine_may_be_taken_in_part_only() -> None:
    whole = Machine.this()
    assert Machine.this(256).memory_bytes == 256 * MIB
    assert Machine.this(2**40).memory_bytes == whole.memory_bytes
    assert whole.cores >= 1


@pytest.mark.parametrize("version", [15, 16, 17, 18])
def test_slots_that_no_tenant_takes_are_reserved(version: int) -> None:
    sizing = parameters.size(Machine(2**32, 4))
    found = parameters.shared_parameters(sizing, version=version, certificate="c", wal_mb=4096)
    names = ["superuser_reserved_connections", "reserved_connections"]
    reserved = [int(found[name]) for name in names if name in found]
    assert sum(reserved) == (sizing.reserved if version >= 16 else sizing.reserved // 2)


def test_statements_end_with_their_clients() -> None:
    sizing = parameters.size(Machine(2**32, 4))
    for found in (
        parameters.control_parameters(wal_mb=1024),
        parameters.shared_parameters(sizing, version=15, certificate="c", wal_mb=4096),
    ):
        assert found["client_connection_check_interval"] == "5s"


def test_no_log_shows_what_a_tenant_says() -> None:
    sizing = parameters.size(Machine(2**32, 4))
    for found in (
        parameters.control_parameters(wal_mb=1024),
        parameters.shared_parameters(sizing, version=18, certificate="c", wal_mb=4096),
    ):
        assert found["log_statement"] == "none"
        assert found["log_min_error_statement"] == "panic"
        assert found["log_parameter_max_length_on_error"] == "0"


@pytest.mark.parametrize(
    ("disk_gib", "of_tenants", "of_control"),
    [(1, 256, 64), (2.9, 256, 64), (20, 2048, 512), (41, 4096, 1024), (1000, 4096, 1024)],
)
def test_the_write_ahead_log_follows_the_disk(
    disk_gib: float, of_tenants: int, of_control: int
) -> None:
    disk = int(disk_gib * 2**30)
    assert parameters.wal_mb(disk) == of_tenants
    assert parameters.wal_mb(disk, of_control=True) == of_control
    sizing = parameters.size(Machine(2**32, 4))
    found = parameters.shared_parameters(
        sizing, version=15, certificate="c", wal_mb=parameters.wal_mb(disk)
    )
    assert found["max_wal_size"] == f"{of_tenants}MB"
    control = parameters.control_parameters(wal_mb=parameters.wal_mb(disk, of_control=True))
    assert control["max_wal_size"] == f"{of_control}MB"


@pytest.mark.parametrize("disk", [0, 1, 2**20])
def test_a_tiny_disk_has_the_least_write_ahead_log(disk: int) -> None:
    assert parameters.wal_mb(disk) == 256
    assert parameters.wal_mb(disk, of_control=True) == 64
