"""What a table was and is: compared, and its lost rows brought back, whatever the table is like.

The two databases of a tenant are its past and its present.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tenants import Tenant

from tenantry.pg import bringing_back_program, past_program, table_rows
from tenantry.pg.connections import startup_options
from tenantry.pg.table_rows import Refused, Server

SETTINGS = {
    "search_path": "public",
    "row_security": "off",
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
}
HOSTILE = 'o"r.d%s {0}; é$1'


@dataclass
class Sides:
    """Sessions in the past and the present, and a folder for comparisons."""

    then: Server
    now: Server
    folder: Path
    seconds: float = 60

    def make(self, *statements: str) -> None:
        """Run statements in both."""
        for side in (self.then, self.now):
            for each in statements:
                side.execute(each.encode())

    def compare(self, name: str, schema: str = "public") -> dict[str, Any]:
        self.file = str(self.folder / "comparison.jsonl")
        return past_program.compare(self.then, self.now, schema=schema, name=name, file=self.file)

    def page(self, *kinds: str, after: int = 0, limit: int = 50) -> dict[str, Any]:
        return past_program.page(
            self.then, self.now, file=self.file, kinds=[*kinds], after=after, limit=limit
        )

    def bring_back(self, *kinds: str, places: list[int] | None = None) -> dict[str, Any]:
        return bringing_back_program.bring_back(
            self.then,
            self.now,
            files=[self.file],
            kinds=[*kinds] or ["deleted", "changed"],
            places=places,
            seconds=self.seconds,
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.now.execute(query.encode()).fetchall()


@pytest.fixture
def sides(tenant: Tenant, tmp_path: Path) -> Iterator[Sides]:
    now, then = (
        table_rows.connected(make_conninfo(tenant.dsn(name), options=startup_options(SETTINGS)))
        for name in tenant.databases
    )
    with closing(then), closing(now):
        yield Sides(then, now, tmp_path)


ORDERS = """
    CREATE TABLE orders (id int PRIMARY KEY, what text, at timestamptz, price numeric);
    INSERT INTO orders SELECT n, 'order ' || n, '2026-01-01', round(n / 4.0, 2)
    FROM generate_series(1, 9) n
"""


def test_a_table_is_compared_by_its_key(sides: Sides) -> None:
    sides.make(ORDERS)
    sides.now.execute(
        "DELETE FROM orders WHERE id IN (2, 9); UPDATE orders SET what = NULL WHERE id = 3;"
        "INSERT INTO orders (id) VALUES (10), (11)"
    )
    found = sides.compare("orders")
    assert found["key"] == ["id"]
    assert found["counts"] == {"deleted": 2, "changed": 1, "added": 2, "same": 6}
    shown = sides.page("deleted", "changed", limit=2)
    assert [(each["kind"], each["key"]) for each in shown["rows"]] == [
        ("deleted", ["2"]),
        ("changed", ["3"]),
    ]
    assert shown["rows"][1]["then"] == ["3", "order 3", "2026-01-01 00:00:00+00", "0.75"]
    assert shown["rows"][1]["now"] == ["3", None, "2026-01-01 00:00:00+00", "0.75"]
    [last] = sides.page("deleted", "changed", after=shown["next"])["rows"]
    assert (last["key"], last["now"]) == (["9"], None)
    assert last["then"][:2] == ["9", "order 9"]
    added = sides.page("added")
    assert (added["next"], [each["then"] for each in added["rows"]]) == (None, [None, None])


def test_rows_are_in_the_order_of_their_key(sides: Sides) -> None:
    sides.make(
        "CREATE TABLE n (id bigint, what text, PRIMARY KEY (id, what));"
        "INSERT INTO n VALUES (-9223372036854775808, 'a'), (-7, 'a'), (9, 'b'), (9, 'a'),"
        " (10, 'a'), (101, 'a'), (9223372036854775807, 'a')"
    )
    sides.now.execute("DELETE FROM n WHERE id <> 101")
    assert sides.compare("n")["counts"] == {"deleted": 6, "changed": 0, "added": 0, "same": 1}
    keys = [each["key"] for each in sides.page("deleted")["rows"]]
    keys += [each["key"] for each in sides.page("deleted", after=len(keys))["rows"]]
    assert keys == [
        ["-9223372036854775808", "a"],
        ["-7", "a"],
        ["9", "a"],
        ["9", "b"],
        ["10", "a"],
        ["9223372036854775807", "a"],
    ]


def test_only_lost_rows_come_back(sides: Sides) -> None:
    sides.make(ORDERS)
    sides.now.execute(
        "DELETE FROM orders WHERE id < 3; UPDATE orders SET price = 0 WHERE id IN (4, 5);"
        "INSERT INTO orders (id) VALUES (10)"
    )
    sides.compare("orders")
    [first, *_] = sides.page("deleted")["rows"]
    done = sides.bring_back(places=[first["place"]])
    assert (done["inserted"], done["updated"]) == (1, 0)
    done = sides.bring_back()
    assert done == {
        "inserted": 1, "updated": 2, "altered": 0, "already": 1, "skipped": 0, "rows": [],
    }  # fmt: skip
    assert sides.compare("orders")["counts"] == {"deleted": 0, "changed": 0, "added": 1, "same": 9}
    # A repetition, as after a crash, changes nothing.
    sides.now.execute("UPDATE orders SET price = 7 WHERE id = 4")
    sides.compare("orders")
    assert sides.bring_back("deleted")["inserted"] == 0


def test_what_changed_again_is_left_as_it_is(sides: Sides) -> None:
    sides.make(ORDERS)
    sides.now.execute(
        "DELETE FROM orders WHERE id = 1; UPDATE orders SET what = 'x' WHERE id IN (2, 3)"
    )
    sides.compare("orders")
    sides.now.execute(
        "INSERT INTO orders (id, what) VALUES (1, 'new');"
        "UPDATE orders SET what = 'y' WHERE id = 2;"
        "DELETE FROM orders WHERE id = 3"
    )
    done = sides.bring_back()
    assert (done["inserted"], done["updated"], done["skipped"]) == (0, 0, 3)
    assert [(each["key"], each["reason"]) for each in done["rows"]] == [
        (["1"], "exists_again"),
        (["2"], "changed_since"),
        (["3"], "deleted_since"),
    ]
    assert sides.rows("SELECT id, what FROM orders WHERE id < 4 ORDER BY id") == [
        ("1", "new"),
        ("2", "y"),
    ]


def test_a_table_without_a_key_is_compared_by_whole_rows(sides: Sides) -> None:
    sides.make("CREATE TABLE notes (v text); INSERT INTO notes VALUES ('a'), ('a'), ('b'), (NULL)")
    sides.now.execute(
        "DELETE FROM notes WHERE ctid = (SELECT min(ctid) FROM notes);"
        "UPDATE notes SET v = 'c' WHERE v = 'b'"
    )
    found = sides.compare("notes")
    assert (found["key"], found["counts"]) == (
        [],
        {"deleted": 2, "changed": 0, "added": 1, "same": 2},
    )
    assert {tuple(each["then"]) for each in sides.page("deleted")["rows"]} == {("a",), ("b",)}
    with pytest.raises(Refused, match="no primary key"):
        sides.bring_back()


@pytest.mark.parametrize("schema", ["public", HOSTILE])
def test_hostile_names_and_values(sides: Sides, schema: str) -> None:
    table, key, column = (f"{HOSTILE}{what}" for what in ("table", "key", "column"))

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def named(statement: str) -> str:
        there = f"{quoted(schema)}.{quoted(table)}"
        return (
            statement.replace("THERE", there)
            .replace("SCHEMA_", quoted(schema))
            .replace("KEY_", quoted(key))
            .replace("COLUMN_", quoted(column))
        )

    sides.make(
        *map(
            named,
            (
                "CREATE SCHEMA IF NOT EXISTS SCHEMA_",
                "CREATE TABLE THERE (KEY_ text, n int, COLUMN_ text[], PRIMARY KEY (KEY_, n))",
                """INSERT INTO THERE VALUES ('a''b"c,(\\', 1, ARRAY['%s', NULL, '{}']),"""
                " ('', 2, NULL), (repeat('é', 300), 3, ARRAY[repeat('x', 5000)])",
            ),
        )
    )
    rows = named("SELECT t::text FROM THERE t ORDER BY n")
    before = sides.rows(rows)
    for statement in ("DELETE FROM THERE WHERE n <> 2", "UPDATE THERE SET COLUMN_ = '{}'"):
        sides.now.execute(named(statement).encode())
    assert sides.compare(table, schema)["counts"] == {
        "deleted": 2, "changed": 1, "added": 0, "same": 0,
    }  # fmt: skip
    shown = sides.page("deleted", "changed")["rows"]
    assert max(len(each["then"][2] or "") for each in shown) == table_rows.MOST_SHOWN
    done = sides.bring_back()
    assert (done["inserted"], done["updated"], done["altered"]) == (2, 1, 0)
    assert sides.rows(rows) == before


def test_generated_and_identity_columns(sides: Sides) -> None:
    sides.make(
        "CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price int,"
        " twice int GENERATED ALWAYS AS (price * 2) STORED,"
        " nth int GENERATED ALWAYS AS IDENTITY (START 100));"
        "INSERT INTO items (price) VALUES (1), (2), (3)"
    )
    sides.now.execute(
        "DELETE FROM items WHERE id = 1; UPDATE items SET price = 9 WHERE id = 2;"
        "UPDATE items SET price = 8, nth = DEFAULT WHERE id = 3"
    )
    found = sides.compare("items")
    assert [each["name"] for each in found["columns"]] == ["id", "price", "nth"]
    done = sides.bring_back()
    # PostgreSQL lets no UPDATE set nth of the third row to a value.
    assert (done["inserted"], done["updated"], done["altered"]) == (1, 2, 1)
    assert sides.rows("SELECT * FROM items ORDER BY id") == [
        ("1", "1", "2", "100"),
        ("2", "2", "4", "101"),
        ("3", "3", "6", "103"),
    ]


def test_columns_that_were_added_and_dropped(sides: Sides) -> None:
    sides.make(ORDERS)
    sides.now.execute(
        "ALTER TABLE orders DROP COLUMN what, ADD COLUMN size int DEFAULT 5;"
        "DELETE FROM orders WHERE id = 1"
    )
    found = sides.compare("orders")
    assert (found["only_then"], found["only_now"]) == (["what"], ["size"])
    assert found["counts"]["changed"] == 0
    assert sides.bring_back()["inserted"] == 1
    assert sides.rows("SELECT id, size FROM orders WHERE id = 1") == [("1", "5")]
    sides.now.execute("ALTER TABLE orders ADD COLUMN more int")
    with pytest.raises(Refused, match="other columns since"):
        sides.bring_back()


def test_rows_that_refer_to_each_other(sides: Sides) -> None:
    sides.make(
        "CREATE TABLE parts (id int PRIMARY KEY, of_part int REFERENCES parts);"
        "INSERT INTO parts VALUES (9, NULL), (5, 9), (1, 5), (3, 1)"
    )
    sides.now.execute("DELETE FROM parts")
    sides.compare("parts")
    assert sides.bring_back()["inserted"] == 4
    sides.make(
        "CREATE TABLE uses (id int PRIMARY KEY, part int REFERENCES parts ON DELETE CASCADE);"
        "INSERT INTO uses VALUES (1, 3)"
    )
    sides.now.execute("DELETE FROM parts WHERE id = 3")
    sides.compare("uses")
    with pytest.raises(Refused, match=r"uses_part_fkey: Key \(part\)=\(3\) .* Bring those"):
        sides.bring_back()
    assert sides.rows("SELECT FROM uses") == []


def test_a_key_has_no_included_columns(sides: Sides) -> None:
    sides.make(
        "CREATE TABLE i (id int, note text, PRIMARY KEY (id) INCLUDE (note));"
        "INSERT INTO i VALUES (1, NULL), (2, 'two')"
    )
    sides.now.execute("DELETE FROM i WHERE id = 1; UPDATE i SET note = 'x' WHERE id = 2")
    found = sides.compare("i")
    assert (found["key"], found["counts"]["changed"]) == (["id"], 1)
    assert (sides.bring_back()["inserted"], sides.compare("i")["counts"]["same"]) == (1, 2)


def test_a_key_of_a_composite_type(sides: Sides) -> None:
    sides.make(
        "CREATE TYPE place AS (x int, y text); CREATE TABLE c (at place PRIMARY KEY, v char(3));"
        "INSERT INTO c VALUES ((1, 'a'), 'v'), ((2, 'b'), 'v')"
    )
    sides.now.execute("DELETE FROM c WHERE (at).x = 1; UPDATE c SET v = 'w'")
    sides.compare("c")
    assert sides.page("deleted")["rows"][0]["then"] == ["(1,a)", "v  "]
    assert (sides.bring_back()["inserted"], sides.compare("c")["counts"]["same"]) == (1, 2)


def test_long_keys_fill_neither_the_disk_nor_a_page(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides.make(
        "CREATE TABLE k (id text PRIMARY KEY, v text);"
        "INSERT INTO k SELECT repeat(chr(1), 20000) || n, repeat('x', 900)"
        " FROM generate_series(1, 9) n"
    )
    sides.now.execute("DELETE FROM k")
    monkeypatch.setattr(past_program, "MOST_BYTES", 500_000)
    monkeypatch.setattr(past_program, "_A_PAGE_BYTES", 1000)
    found = sides.compare("k")
    assert (found["counts"]["deleted"], found["truncated"]) == (9, True)
    assert Path(sides.file).stat().st_size <= 500_000
    shown = sides.page("deleted")
    assert [len(each["key"][0]) for each in shown["rows"]] == [table_rows.MOST_SHOWN]
    assert len(sides.page("deleted", after=shown["next"])["rows"]) == 1
    places = [each["place"] for each in shown["rows"]]
    assert sides.bring_back(places=places)["inserted"] == 1


def test_a_value_that_others_refer_to_is_left_as_it_is(sides: Sides) -> None:
    sides.make(
        "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE, v text);"
        "CREATE TABLE q (id int PRIMARY KEY, code text REFERENCES p (code) ON UPDATE CASCADE);"
        "INSERT INTO p VALUES (1, 'a', 'v'), (2, 'b', 'v'); INSERT INTO q VALUES (1, 'a'), (2, 'b')"
    )
    sides.now.execute(
        "UPDATE p SET code = 'z', v = 'w' WHERE id = 1; UPDATE p SET v = 'w' WHERE id = 2"
    )
    sides.compare("p")
    done = sides.bring_back()
    assert (done["updated"], [each["reason"] for each in done["rows"]]) == (1, ["others_refer"])
    assert sides.rows("SELECT code, v FROM p ORDER BY id") == [("z", "w"), ("b", "v")]
    assert sides.rows("SELECT code FROM q ORDER BY id") == [("z",), ("b",)]


@pytest.mark.parametrize("kind", ["", "DEFERRABLE INITIALLY DEFERRED"])
def test_a_unique_value_of_another_row(sides: Sides, kind: str) -> None:
    sides.make(
        f"CREATE TABLE u (id int PRIMARY KEY {kind}, n int UNIQUE {kind}, v text)",
        "INSERT INTO u SELECT g, g, 'v' FROM generate_series(1, 6) g",
    )
    # 1 and 2 are taken by an added row; 4 has been 3's since.
    sides.now.execute(
        "DELETE FROM u WHERE id = 1; UPDATE u SET n = 20 WHERE id = 2;"
        "UPDATE u SET v = 'w' WHERE id > 4;"
        "INSERT INTO u VALUES (7, 1), (8, 2); UPDATE u SET n = 30 WHERE id = 4;"
        "UPDATE u SET n = 4 WHERE id = 3"
    )
    sides.compare("u")
    done = sides.bring_back()
    assert (done["inserted"], done["updated"], done["skipped"]) == (0, 4, 2)
    assert [(each["key"], each["reason"]) for each in done["rows"]] == [
        (["1"], "unique_or_trigger"),
        (["2"], "unique_or_trigger"),
    ]
    assert sides.rows("SELECT id, n, v FROM u WHERE id BETWEEN 3 AND 6 ORDER BY id") == [
        (str(n), str(n), "v") for n in range(3, 7)
    ]


@pytest.mark.parametrize("kind", ["", "DEFERRABLE"])
def test_rows_that_refer_to_each_other_in_a_circle(sides: Sides, kind: str) -> None:
    sides.make(
        "CREATE TABLE x (id int PRIMARY KEY, y int); CREATE TABLE y (id int PRIMARY KEY, x int)",
        f"ALTER TABLE x ADD FOREIGN KEY (y) REFERENCES y {kind}",
        f"ALTER TABLE y ADD FOREIGN KEY (x) REFERENCES x {kind}",
        "INSERT INTO x VALUES (1, NULL); INSERT INTO y VALUES (1, 1); UPDATE x SET y = 1",
    )
    sides.now.execute("UPDATE x SET y = NULL; DELETE FROM y; DELETE FROM x")
    files = []
    for name in ("x", "y"):
        sides.compare(name)
        files.append(Path(sides.file).rename(sides.folder / name))

    def both() -> dict[str, Any]:
        return bringing_back_program.bring_back(
            sides.then,
            sides.now,
            files=[*map(str, files)],
            kinds=["deleted"],
            places=None,
            seconds=60,
        )

    if kind:
        assert both()["inserted"] == 2
        assert sides.rows("SELECT y FROM x") == [("1",)]
    else:
        with pytest.raises(Refused, match="refer to each other"):
            both()


def test_many_rows_come_back(sides: Sides) -> None:
    sides.make("CREATE TABLE m (id int PRIMARY KEY, v text, up int REFERENCES m)")
    sides.make("INSERT INTO m SELECT n, 'v' || n, n / 2 FROM generate_series(0, 499) n")
    sides.now.execute("DELETE FROM m WHERE id > 10; INSERT INTO m VALUES (77, 'new')")
    sides.compare("m")
    done = sides.bring_back()
    assert (done["inserted"], done["updated"], done["altered"], done["skipped"]) == (488, 1, 0, 0)
    sides.now.execute("DELETE FROM m WHERE id > 10")
    sides.compare("m")
    sides.seconds = -1
    with pytest.raises(table_rows.TookTooLong):
        sides.bring_back()
    assert sides.rows("SELECT count(*) FROM m") == [("11",)]


def test_a_row_with_another_key_is_noticed(sides: Sides) -> None:
    sides.make(ORDERS)
    sides.now.execute("UPDATE orders SET id = 100 WHERE id = 1; DELETE FROM orders WHERE id = 2")
    assert sides.compare("orders")["moved"] == 1


def test_triggers_fire(sides: Sides) -> None:
    sides.make(
        ORDERS,
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id = 2 THEN RETURN NULL; END IF; NEW.what := NEW.what || '!'; RETURN NEW; END $$;"
        "CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON orders FOR EACH ROW"
        " EXECUTE FUNCTION stamp()",
    )
    sides.now.execute("DELETE FROM orders WHERE id < 3")
    sides.compare("orders")
    done = sides.bring_back()
    assert (done["inserted"], done["altered"], done["skipped"]) == (1, 1, 1)
    assert done["rows"][0]["reason"] == "unique_or_trigger"
    assert sides.rows("SELECT what FROM orders WHERE id < 3") == [("order 1!",)]


def test_a_failure_changes_nothing(sides: Sides) -> None:
    sides.make(ORDERS)
    sides.now.execute(
        "DELETE FROM orders WHERE id < 3; ALTER TABLE orders ADD CHECK (id <> 2) NOT VALID"
    )
    sides.compare("orders")
    with pytest.raises(psycopg.errors.CheckViolation):
        sides.bring_back()
    assert sides.rows("SELECT FROM orders WHERE id < 3") == []


def test_a_policy_that_hides_rows_is_an_error(sides: Sides) -> None:
    sides.make(
        ORDERS,
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY few ON orders USING (id < 3)",
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sides.compare("orders")
    found = past_program.tables(sides.then, sides.now, seconds=30)
    assert found["tables"] == [["public", "orders", None, "forbidden", None, "forbidden"]]


def test_rows_are_counted(sides: Sides) -> None:
    sides.make(
        ORDERS,
        "CREATE UNLOGGED TABLE cache (n int);"
        "CREATE TABLE parted (n int) PARTITION BY LIST (n);"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);"
        "INSERT INTO parted VALUES (1), (1)",
    )
    sides.now.execute("DROP TABLE orders; DELETE FROM parted WHERE ctid = '(0,1)'")
    found = past_program.tables(sides.then, sides.now, seconds=30)
    assert found["tables"] == [
        ["public", "cache", None, "unlogged", None, "unlogged"],
        ["public", "orders", 9, "", None, "missing"],
        ["public", "parted", 2, "", 1, ""],
    ]


def test_whole_tables_are_copied_beside(sides: Sides) -> None:
    sides.make(
        "CREATE TYPE mood AS ENUM ('good', 'bad');"
        'CREATE TABLE "Days" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,'
        " how mood NOT NULL, twice bigint GENERATED ALWAYS AS (id * 2) STORED, raw bytea);"
        "INSERT INTO \"Days\" (how, raw) VALUES ('good', '\\xff00'), ('bad', NULL)"
    )
    sides.now.execute('DROP TABLE "Days"')
    for _ in range(2):  # the second time, it finds that it was done
        done = bringing_back_program.copy(
            sides.then, sides.now, tables=[["public", "Days"]], into="restored_x"
        )
        assert done == {
            "schema": "restored_x",
            "tables": [{"schema": "public", "table": "Days", "rows": 2}],
        }
    assert sides.rows('SELECT * FROM restored_x."Days" ORDER BY id') == [
        ("1", "good", "2", "\\xff00"),
        ("2", "bad", "4", None),
    ]
    with pytest.raises(Refused, match="no table"):
        bringing_back_program.copy(
            sides.then, sides.now, tables=[["public", "none"]], into="restored_y"
        )
    assert sides.rows("SELECT FROM pg_namespace WHERE nspname = 'restored_y'") == []
