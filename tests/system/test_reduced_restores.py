"""A side cluster has no files of the databases that nobody asks for, and recovers without them.

What the log says of those is done all the same: to pages, to files, to databases that come and go.
"""

from collections.abc import Iterator

import pytest

from harness import Installation
from inside import inside
from tenantry.base.ids import new_id
from tenantry.base.settings import load
from tenantry.pg.connections import ADMIN, connect, fetch_value
from tenantry.services.repository.service import Repositories
from tenantry.services.side_clusters.model import Wanted
from tenantry.services.side_clusters.service import SideClusters

FILL = """
    CREATE TABLE small (id int PRIMARY KEY, text text);
    INSERT INTO small SELECT g, repeat('a', 100) FROM generate_series(1, 1000) g;
    CREATE TABLE large (id int PRIMARY KEY, text text);
    INSERT INTO large SELECT g, repeat('b', 100) FROM generate_series(1, 20000) g;
    CREATE TABLE gone AS SELECT g AS id FROM generate_series(1, 1000) g;
    CREATE TABLE dropped AS SELECT g AS id FROM generate_series(1, 1000) g
"""
GO_ON = """
    UPDATE small SET text = repeat('c', 100);
    INSERT INTO small SELECT g, repeat('d', 100) FROM generate_series(1001, 5000) g;
    VACUUM small;
    DELETE FROM small WHERE id % 3 = 0;
    VACUUM (FREEZE) small;
    CREATE INDEX ON small (text, id);
    CREATE INDEX ON small USING gin (to_tsvector('simple', text));
    CREATE INDEX ON small USING gist (int4range(id, id + 1));
    CREATE INDEX ON small USING hash (id);
    CREATE INDEX ON small USING brin (id);
    UPDATE large SET text = repeat('e', 100) WHERE id > 19000;
    VACUUM FULL pg_class;
    TRUNCATE gone;
    DROP TABLE dropped;
    CREATE TABLE later AS SELECT g AS id FROM generate_series(1, 1000) g;
    CHECKPOINT;
    CLUSTER small USING small_pkey;
    DELETE FROM later WHERE id > 10;
    VACUUM later;
    CHECKPOINT;
    UPDATE small SET text = repeat('f', 100) WHERE id < 100;
    VACUUM FULL large
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """An installation with backups, whose superuser makes databases that nobody owns."""
    installation = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "0"})
    try:
        installation.up()
        yield installation
    finally:
        installation.remove()


def execute(platform: Installation, script: str, database: str = "postgres") -> None:
    """Each statement of a script in a transaction of its own, as the superuser."""
    with platform.superuser(dbname=database) as session:
        for statement in script.split(";"):
            session.execute(statement.encode())


def oid(platform: Installation, database: str) -> str:
    with platform.superuser() as server:
        row = server.execute("SELECT oid FROM pg_database WHERE datname = %s", [database])
        return str(row.fetchone()[0])  # type: ignore[index]


async def side_cluster(repositories: Repositories, database: str) -> dict[str, object]:
    """What a side cluster has of a database as it is now, and how many files it began with."""
    sides = SideClusters(load(), repositories)
    operation = new_id()
    wanted = Wanted("shared-1", await repositories.secure("shared-1"), (database,))
    try:
        await sides.restore(operation, wanted)
        folders = (sides.folder(operation) / "cluster" / "data" / "base").iterdir()
        made = {folder.name: sorted(file.name for file in folder.iterdir()) for folder in folders}
        side = await sides.recover(operation, wanted)
        async with connect(side.address, user=ADMIN, dbname=database) as there:
            checksum = await fetch_value(there, CHECKSUM)
    finally:
        await sides.remove(operation)
    return {"made": made, "checksum": checksum}


CHECKSUM = """
    SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM
    (TABLE public.small UNION ALL TABLE public.large) t
"""


def test_other_databases_have_no_small_files_and_hold_nothing_up(platform: Installation) -> None:
    wanted, other = (
        platform.create(friendlyName=name, shadow=False)["database_name"]
        for name in ("Wanted", "Other")
    )
    for database in (wanted, other):
        execute(platform, FILL, database)
    execute(platform, f"CREATE DATABASE goes TEMPLATE {other}")
    platform.back_up("shared-1", "--type", "full")
    ids = {name: oid(platform, name) for name in (wanted, other, "goes")}
    for database in (wanted, other):
        execute(platform, GO_ON, database)
    for strategy in ("wal_log", "file_copy"):
        for name in (f"stays_{strategy}", f"comes_and_goes_{strategy}"):
            execute(platform, f"CREATE DATABASE {name} TEMPLATE {other} STRATEGY {strategy}")
            execute(platform, "UPDATE small SET text = 'g'; CREATE INDEX ON small (text)", name)
    for name in ("goes", "comes_and_goes_wal_log", "comes_and_goes_file_copy"):
        execute(platform, f"DROP DATABASE {name}")
    with platform.superuser(dbname=wanted) as server:
        expected = server.execute(CHECKSUM.encode()).fetchone()
    found = inside(platform, side_cluster, wanted)
    assert [found["checksum"]] == list(expected or [])
    made = found["made"]
    assert len(made[ids[wanted]]) > 290
    for name in (other, "goes"):
        large = [each for each in made[ids[name]] if each != "PG_VERSION"]
        assert "PG_VERSION" in made[ids[name]]
        assert len(large) == 1, large  # made sparse, so that recovery need not fill it
