"""SQL scripts, taken apart: as psql would, but for what is psql's own."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import parser

from tenantry.pg.script_choice import Choice
from tenantry.pg.scripts import Refused, Script, Statement

SETTINGS = {"standard_conforming_strings": b"on", "client_encoding": b"UTF8"}


def script(text: bytes, **settings: bytes) -> Script:
    return Script(io.BytesIO(text), lambda name: (SETTINGS | settings)[name])


def split(text: bytes, **settings: bytes) -> list[bytes]:
    return [each.text for each in script(text, **settings).statements()]


WHOLE = [
    b"SELECT 1;",
    b"SELECT 'a;b', ';''; --', \"odd;\"\"name\";",
    b"SELECT E'it\\'s; ''quoted''\\\\', e'\\';', U&'d\\0061;', B'1', node'x;';",
    b"SELECT 'no\\', 1 -- it's;\n, 2;",
    b"SELECT E'one' -- string\n\n 'of two\\';', 'another'\n'\\';",
    b"SELECT ':USER :''HOST'':', :USER, :'HOST', 1 - -1, 6/ /* ; /* nested ; */ ; */ 2;",
    b"SELECT a$b$;",
    b"SELECT $1 + $$; ' \" \\! $x$ $$ || $x$ $$ ; \\i $y$ $x$;",
    b"CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $_$\nBEGIN;\n  '\\'; $1;\nEND$_$;",
    b"CREATE OR REPLACE FUNCTION f(begin int) RETURNS int BEGIN ATOMIC\n"
    b" SELECT CASE WHEN 1 = 1 THEN 2 END;\n SELECT 2;\nEND;",
    b"CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b);",
    b"CREATE TABLE begin (case_ int, x int DEFAULT (1 + (2)));",
    b"SELECT 1 -- not the end;\n;",
    b"+ 1;",
    "SELECT 'Ünal; ' AS é$é;".encode(),
]


def test_statements_end_where_the_server_would_have_them_end() -> None:
    assert split(b"\n".join(WHOLE)) == WHOLE
    assert split(b" ".join(WHOLE)) == WHOLE
    assert split(b"\r\n".join(WHOLE)) == WHOLE


@given(st.lists(st.sampled_from(WHOLE)), st.sampled_from([b"\n", b" ", b"\n\n -- a;'\n", b"/*;*/"]))
def test_what_is_between_statements_belongs_to_none(texts: list[bytes], between: bytes) -> None:
    assert split(between.join([b"", *texts, b""])) == texts


FRAGMENTS = [
    *("SELECT", "1", "a", "node'y'", "a$b$", "$1", "1.5e3", "::text", ":x", "[1]", "(1;2)"),
    *("'x'", "''", "'a;b'", "'a\\'", "N'z;'", "U&'\\0061;'", "x'1f'", "'x'\n'y;'"),
    *("E'a\\'b;'", "e'\\\\'", "E'it''s;'", "E''", "E'\\\\''x'", "E'x'\n'y\\';'"),
    *("$$;$$", "$a$;$$;$a$", "$a$ ' $a$", '"q;"', '"a""b;"', ";", ";\n", "\n", " "),
    *("--c;'\n", "-- $$\n", "+--x;\n", "/*;*/", "/* /* ; */ ' */", "/*--*/", "*/*c*/"),
    *("- -", "-1", "*", "/", "/-", "=", "<>", ","),
]
COMMENTS = {"SQL_COMMENT", "C_COMMENT"}


def scanned(text: str) -> list[str]:
    """The tokens of a text, by PostgreSQL's own scanner."""
    tokens = parser.scan(text)
    return [text[each.start : each.end + 1] for each in tokens if each.name not in COMMENTS]


def split_by_tokens(tokens: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == ";" and not depth:
            found.append([])
        else:
            found[-1].append(token)
    return [each for each in found if each]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14), st.sampled_from(["", " "]))
def test_it_is_split_as_by_postgresqls_own_scanner(fragments: list[str], between: str) -> None:
    text = between.join(fragments)
    try:
        wanted = split_by_tokens(scanned(text))
    except parser.ParseError:
        return
    if any("\\" in tokens for tokens in wanted):
        with pytest.raises(Refused):
            split(text.encode())
        return
    ours = [scanned(each.decode().removesuffix(";")) for each in split(text.encode())]
    assert ours == wanted


def test_lines_are_counted() -> None:
    text = b"\n-- a comment\n\nSELECT\n1;\n  SELECT 'a\nb'; SELECT 3;\n"
    assert [each.line for each in script(text).statements()] == [4, 6, 7]


def test_a_backslash_escapes_where_the_server_says_so() -> None:
    text = rb"SELECT 'a\'; b'; SELECT 2;"
    assert split(text, standard_conforming_strings=b"off") == [
        rb"SELECT 'a\'; b';",
        b"SELECT 2;",
    ]
    with pytest.raises(Refused, match="middle of a statement"):
        split(text)


def test_what_guards_psql_is_passed_over_and_a_last_semicolon_may_be_missing() -> None:
    assert split(b"\xef\xbb\xbf\\restrict aB1\n\nSELECT 1;\n\\unrestrict aB1\nSELECT 2\n") == [
        b"SELECT 1;",
        b"SELECT 2\n",
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"\\! touch x\n",
        b"SELECT 1; \\! touch x\n",
        b"SELECT 1 \\g |touch\n",
        b"SELECT 1 \\gexec\n",
        b"\\restrict a\n\\unrestrict a\n\\i /etc/passwd\n",
        b"\\unrestrict `touch x`\n",
        b"\\restrict a`touch x`\n",
        b"SELECT 1 \\unrestrict a\n;",
        b"\\copy t from program 'touch x'\n",
        b"\\o |touch x\n",
        b"\\set x `touch x`\n",
        b"SELECT (1\n\\! touch x\n);",
        b"\\\\",
        b"\\",
    ],
)
def test_what_is_psqls_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="psql's"):
        split(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\\connect other\n", "another database"),
        (b"--\n-- PostgreSQL database cluster dump\n--\n", "pg_dumpall"),
        (b"-- PostgreSQL database dump\nSELECT 1;\n", "missing"),
        (b"SELECT 'cut", "middle of a statement"),
        (b"SELECT $a$cut", "middle of a statement"),
        (b"/* cut", "middle"),
        (b"SELECT 1;\0", "not text"),
    ],
)
def test_what_cannot_be_taken_is_said(text: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        split(text)


def test_an_encoding_that_hides_quotes_is_refused() -> None:
    with pytest.raises(Refused, match="encoding"):
        split(b"SELECT 1;", client_encoding=b"SJIS")


def test_a_statement_has_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantry.pg.scripts.MOST_STATEMENT_BYTES", 50)
    for long in (b"SELECT 1;\nSELECT '%s';" % (b"x" * 60), b"SELECT 1;\nSELECT\n" + b"1\n" * 50):
        with pytest.raises(Refused, match="Line 2"):
            split(long)


@pytest.mark.parametrize(
    ("end", "rest"),
    [
        (b"\n\\.\nSELECT 1;\n", [(b"SELECT 1;", 7)]),
        (b"\r\n\\.\r\nSELECT 1;", [(b"SELECT 1;", 7)]),
        (b"\n\\.", []),
    ],
)
def test_the_data_of_a_copy_is_not_sql(end: bytes, rest: list[tuple[bytes, int]]) -> None:
    data = b"1\t\\N ; '\n:USER\t\\\\.\n\\.x\n\\! touch"
    read = script(b"COPY t FROM stdin; \n" + data + end)
    statements = read.statements()
    assert next(statements).text == b"COPY t FROM stdin;"
    given = b"".join(read.data())
    assert given.rstrip() == data
    assert [(each.text, each.line) for each in statements] == rest


@pytest.mark.parametrize("data", [b"\n1\n2\n", b" 1\n\\.\n", b"\n1\\.\n"])
def test_data_that_does_not_end_is_found(data: bytes) -> None:
    read = script(b"COPY t FROM stdin;" + data)
    next(read.statements())
    with pytest.raises(Refused):
        list(read.data())


# ── what of it is carried out ────────────────────────────────────────────────


def chosen(*texts: str) -> tuple[list[str], list[str]]:
    choice = Choice()
    kept = [text for text in texts if choice.takes(Statement(text.encode(), 1))]
    return kept, choice.left_out


KEPT = [
    "CREATE TABLE t (x int);",
    "ALTER TABLE t ADD COLUMN y int;",
    "ALTER TABLE t OWNER TO a, ADD COLUMN z int;",
    "COMMENT ON TABLE t IS 'ours';",
    "COMMENT ON SCHEMA sales IS 'ours';",
    "CREATE EXTENSION pg_trgm;",
    "SET search_path = public;",
    "SET ROLE other;",
    "DROP TABLE t;",
    "CREATE SOMETHING that is newer;",
]
LEFT_OUT = [
    "ALTER TABLE t OWNER TO ann;",
    "ALTER FUNCTION f() OWNER TO ann;",
    "ALTER SCHEMA public OWNER TO pg_database_owner;",
    "GRANT SELECT ON TABLE t TO ben;",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
    "ALTER DEFAULT PRIVILEGES FOR ROLE ann GRANT ALL ON TABLES TO cleo;",
    "SET SESSION AUTHORIZATION 'ann';",
    "SET default_tablespace = fast;",
    "SECURITY LABEL FOR x ON TABLE t IS 'y';",
    "CREATE SCHEMA public;",
    "COMMENT ON SCHEMA public IS 'standard public schema';",
    "CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;",
    "COMMENT ON EXTENSION plpgsql IS 'PL/pgSQL';",
]
TOLD = [
    "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f();",
    "CREATE PUBLICATION p FOR ALL TABLES;",
    "CREATE SERVER s FOREIGN DATA WRAPPER w;",
]


def test_what_names_the_other_servers_roles_is_left_out() -> None:
    kept, told = chosen(*KEPT, *LEFT_OUT, *TOLD)
    assert kept == KEPT
    assert told == ["owners and grants for ann, ben, cleo, pg_database_owner", *TOLD]


def test_nothing_is_dropped_before_something_is_made() -> None:
    drops = ["ALTER TABLE ONLY t DROP CONSTRAINT t_pkey;", "DROP TABLE t;", "DROP SCHEMA public;"]
    kept, told = chosen("SET lock_timeout = 0;", *drops, KEPT[0], *drops[:2])
    assert (kept, told) == (["SET lock_timeout = 0;", KEPT[0], *drops[:2]], [])


@pytest.mark.parametrize(
    "text",
    [
        "CREATE DATABASE shop;",
        "ALTER DATABASE shop SET work_mem = '1GB';",
        "CREATE ROLE evil;",
        "ALTER ROLE ann PASSWORD 'known';",
        "GRANT ann TO ben;",
        "DROP DATABASE shop;",
    ],
)
def test_what_is_of_a_whole_server_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        chosen(text)
    assert "without --create" in str(refused.value.hint)
