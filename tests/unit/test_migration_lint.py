"""What lint finds in migrations, what it leaves alone, and how it is silenced."""

import pytest

from tenantry.services.migrations import lint, plan
from tenantry.services.migrations.lint_rules import RULES
from tenantry.services.migrations.model import Direction, Script


def found(text: str, direction: Direction = Direction.UP) -> list[str]:
    return [each.rule.id for each in lint.check_script(Script("1_a.up.sql", text), direction)]


BAD = {
    "SELECT FROM WHERE": "unreadable",
    "\\i other.sql": "unreadable",
    "CREATE INDEX i ON t (a)": "index-blocks-writes",
    "CREATE UNIQUE INDEX ON s.t (a)": "index-blocks-writes",
    "DROP INDEX i": "drop-index-blocks",
    "REINDEX TABLE t": "reindex-blocks-writes",
    "REFRESH MATERIALIZED VIEW v": "refresh-blocks-reads",
    "ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid()": "column-rewrites-table",
    "ALTER TABLE t ADD c float DEFAULT 1 + random()": "column-rewrites-table",
    "ALTER TABLE t ADD c bigserial": "column-rewrites-table",
    "ALTER TABLE t ADD c int GENERATED ALWAYS AS IDENTITY": "column-rewrites-table",
    "ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) STORED": "column-rewrites-table",
    "ALTER TABLE t ADD c int NOT NULL": "column-without-default",
    "ALTER TABLE t ALTER c TYPE bigint": "type-rewrites-table",
    "ALTER TABLE t ALTER c SET NOT NULL": "not-null-scans-table",
    "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)": "constraint-scans-table",
    "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u": "constraint-scans-table",
    "ALTER TABLE t ADD c int REFERENCES u": "constraint-scans-table",
    "ALTER TABLE t ADD UNIQUE (a)": "constraint-builds-index",
    "ALTER TABLE t ADD PRIMARY KEY (a)": "constraint-builds-index",
    "ALTER TABLE t SET UNLOGGED": "rewrites-table",
    "ALTER TABLE t DROP c": "drops-column",
    "DROP TABLE t": "drops-table",
    "DROP SCHEMA s": "drops-table",
    "TRUNCATE t": "drops-table",
    "ALTER TABLE t RENAME TO u": "renames",
    "ALTER TABLE t RENAME a TO b": "renames",
    "ALTER TABLE t SET SCHEMA s": "renames",
    "ALTER SCHEMA s RENAME TO u": "renames",
    "DROP VIEW v CASCADE": "drops-dependents",
    "DROP FUNCTION f(int) CASCADE": "drops-dependents",
    "DROP TYPE s.e CASCADE": "drops-dependents",
    "ALTER TABLE t ADD c json": "json-cannot-be-compared",
    "ALTER DOMAIN d ADD CONSTRAINT k CHECK (VALUE > 0)": "domain-scans-tables",
    "ALTER DOMAIN d SET NOT NULL": "domain-scans-tables",
    "UPDATE t SET a = 1": "touches-all-rows",
    "DELETE FROM t": "touches-all-rows",
    "LOCK TABLE t": "locks-table",
    "VACUUM FULL t": "rewrites-table",
    "CLUSTER t USING i": "rewrites-table",
    "COMMIT": "own-transaction",
}

GOOD = [
    "",
    "-- nothing",
    "CREATE TABLE t (id bigserial PRIMARY KEY, a int NOT NULL REFERENCES u)",
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "DROP INDEX CONCURRENTLY i",
    "REINDEX (CONCURRENTLY) TABLE t",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
    "ALTER TABLE t ADD c text[] DEFAULT ARRAY[]::text[]",
    "ALTER TABLE t ADD c timestamptz NOT NULL DEFAULT now()",
    "ALTER TABLE t ADD c timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP",
    "ALTER TABLE t ADD c int NOT NULL DEFAULT 0",
    "ALTER TABLE t ALTER c SET DEFAULT random()",
    "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID",
    "ALTER TABLE t VALIDATE CONSTRAINT k",
    "ALTER TABLE t ADD CONSTRAINT k UNIQUE USING INDEX i",
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    "ALTER VIEW v RENAME TO w",
    "UPDATE t SET a = 1 WHERE a = 2",
    "DROP FUNCTION f()",
    "ALTER TABLE t ADD c jsonb",
    "ALTER TABLE t ADD c json[]",
    "ALTER DOMAIN d ADD CONSTRAINT k CHECK (VALUE > 0) NOT VALID",
    "ALTER DOMAIN d VALIDATE CONSTRAINT k",
    "ALTER DOMAIN d DROP NOT NULL",
    "VACUUM t",
]


@pytest.mark.parametrize("text", BAD)
def test_what_hurts_is_found(text: str) -> None:
    assert found(text) == [BAD[text]]


def test_every_rule_is_tried() -> None:
    assert {*BAD.values(), "file-half-done", "works-under-lock"} == set(RULES)


@pytest.mark.parametrize("text", GOOD)
def test_what_does_not_is_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("text", [text for text, rule in BAD.items() if rule != "unreadable"])
def test_a_pragma_above_a_statement_silences_its_rule(text: str) -> None:
    pragma = f"-- tenantry: allow renames, {BAD[text]}"
    assert found(f"-- {text} is right here:\n{pragma}\n{text};") == []
    assert BAD[text] in found(f"{pragma}\nSELECT 1;\n{text}")
    assert found(f"-- tenantry: allow nothing\n{text}") != []


def test_tables_of_the_same_file_may_have_anything_done_to_them() -> None:
    assert (
        found(
            "CREATE TABLE t (a int); CREATE INDEX i ON public.t (a); ALTER TABLE t ADD UNIQUE (a)"
        )
        == []
    )
    assert found("CREATE INDEX i ON t (a); CREATE TABLE t (a int)") == ["index-blocks-writes"]
    assert found("CREATE TABLE IF NOT EXISTS t (a int); CREATE INDEX i ON t (a)") == [
        "index-blocks-writes"
    ]
    assert found("CREATE SCHEMA s CREATE TABLE t (a int); CREATE INDEX i ON t (a)") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UPDATE t SET b = a WHERE b IS NULL", ["works-under-lock"]),
        ("DELETE FROM u WHERE a = 1", ["works-under-lock"]),
        ("INSERT INTO u SELECT a FROM t", ["works-under-lock"]),
        ("ALTER TABLE u VALIDATE CONSTRAINT k", ["works-under-lock"]),
        ("INSERT INTO u VALUES (1)", []),
        ("INSERT INTO u SELECT 1", []),
        ("COMMIT; UPDATE t SET b = a WHERE b IS NULL", ["own-transaction"]),
        ("-- tenantry: allow works-under-lock\nDELETE FROM u WHERE a = 1", []),
    ],
)
def test_nothing_long_comes_after_an_alter_table(text: str, expected: list[str]) -> None:
    assert found(f"ALTER TABLE t ADD b int; {text}") == expected
    after = [rule for rule in expected if rule != "works-under-lock"]
    assert found(f"CREATE TABLE t (a int); ALTER TABLE t ADD b int; {text}") == after
    assert found(f"ALTER TABLE t VALIDATE CONSTRAINT l; {text}") == after
    assert found(f"SELECT 1; {text}; ALTER TABLE t ADD b int") == after


def test_dependents_are_reported_of_beside_what_goes() -> None:
    assert found("DROP TABLE t CASCADE") == ["drops-table", "drops-dependents"]
    assert found("TRUNCATE t CASCADE") == ["drops-table", "drops-dependents"]
    assert found("DROP TABLE t CASCADE", Direction.DOWN) == []


def test_what_cannot_be_taken_back_stands_alone() -> None:
    text = "CREATE TABLE t (a int);\nCREATE INDEX CONCURRENTLY i ON t (a);"
    (finding,) = lint.check_script(Script("1_a.up.sql", text))
    assert (finding.rule.id, finding.line) == ("file-half-done", 2)


def test_a_file_that_undoes_may_drop() -> None:
    assert found("DROP TABLE t; ALTER TABLE u DROP c; DROP INDEX i", Direction.DOWN) == []
    assert found("CREATE INDEX i ON t (a)", Direction.DOWN) == ["index-blocks-writes"]


def test_a_finding_shows_where_it_is() -> None:
    migrations = plan.collect(
        {
            "1_a.up.sql": "SELECT 'ü';\n\nDROP TABLE public.t, s.u".encode(),
            "2_b.down.sql": b"\n\n!",
        }
    )
    assert [
        (each.file, each.line, each.rule.id, each.object) for each in lint.check(migrations)
    ] == [
        ("1_a.up.sql", 3, "drops-table", "t"),
        ("1_a.up.sql", 3, "drops-table", "s.u"),
        ("2_b.down.sql", 3, "unreadable", 'syntax error at or near "!"'),
    ]
