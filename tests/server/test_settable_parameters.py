"""The parameters of a real server, and what its owner may set of them."""

import psycopg

from conftest import Server
from tenantry.pg import parameters, settable
from tenantry.pg.parameters import Machine
from tenantry.pg.settable import Parameter

# What the platform sets, and the owner of an instance may set otherwise.
OWN = {
    "autovacuum_max_workers",
    "checkpoint_completion_target",
    "effective_cache_size",
    "maintenance_work_mem",
    "max_locks_per_transaction",
    "max_wal_size",
    "random_page_cost",
    "shared_buffers",
    "track_io_timing",
    "work_mem",
}


async def every(server: Server) -> dict[str, Parameter]:
    async with await psycopg.AsyncConnection.connect(server.dsn()) as connection:
        return await settable.every(connection)


async def test_what_is_in_force_can_be_set_again(server: Server) -> None:
    found = [each for each in (await every(server)).values() if each.refusal is None]
    assert len(found) > 100
    for each in found:
        assert each.checked(each.value) == each.value
        each.checked(each.default)


async def test_what_the_platform_sets_is_an_owners_on_purpose(server: Server) -> None:
    there = await every(server)
    sizing = parameters.size(Machine(1 << 30, 2))
    set_by_us = parameters.shared_parameters(sizing, version=15, certificate="", wal_mb=4096)
    mine = {name for name in set_by_us if name in there and there[name].refusal is None}
    assert mine == OWN
    lower = {name.lower(): each for name, each in there.items()}
    for name in parameters.control_parameters(wal_mb=1024) | parameters.archiving("true"):
        assert name in OWN or name == "wal_compression" or lower[name].refusal


async def test_no_file_program_or_library_is_an_owners(server: Server) -> None:
    for each in (await every(server)).values():
        if each.refusal is None:
            said = each.description.lower()
            for word in ("shell command", "librar", "directory", "file name"):
                assert word not in said, each.name
            assert each.context != "internal"
