"""What may be a secret does not stay in a statement; what is none does."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantry.pg import redaction, server_log
from tenantry.services.statement_log.model import without_secrets

SECRET = "s3cr3t-W0rd"


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER ROLE app PASSWORD '{}'",
        "create user app with encrypted password '{}' valid until 'infinity'",
        "ALTER USER app PASSWORD E'{}'",
        "ALTER USER app PASSWORD $${}$$",
        "ALTER USER app PASSWORD $a$ x $b$ {} $a$",
        "CREATE SUBSCRIPTION s CONNECTION 'host=h user=u password={}' PUBLICATION p",
        "CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'u', password '{}')",
        "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (passcode '{}')",
        "SELECT * FROM dblink('host=h {}', 'SELECT 1') AS t (a int)",
        "SELECT pgp_sym_encrypt('text', '{}')",
        "SELECT crypt('{}', gen_salt('bf'))",
        "SELECT hmac('text', '{}', 'sha256')",
        "SET app.jwt_secret = '{}'",
        "SET SESSION app.api_key TO {}",
        "alter database d set app.token = {}",
        "SELECT set_config('app.x', '{}', false)",
        "INSERT INTO users (name, password) VALUES ('ann', '{}')",
        "COPY t FROM 's3://user:{}@bucket/file'",
        "EXECUTE login('ann', '{}')",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE app PASSWORD ''{}'''; END $$",
        "/* the password is {} */ SELECT 1",
        "SELECT 1 -- token {}",
        "ALTER USER app PASSWORD '{}",
        # Without standard_conforming_strings this is one literal.
        r"ALTER USER app PASSWORD 'it\'s {}'",
    ],
)
def test_secrets_are_removed(statement: str) -> None:
    whole = statement.replace("{}", SECRET)
    assert SECRET in whole
    assert SECRET not in redaction.redact(whole)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM orders WHERE name = 'ann' -- a comment",
        "CREATE TABLE orders (id bigint, state text DEFAULT 'new')",
        'SELECT "name" FROM t WHERE a = $1',
        "SET search_path = public",
    ],
)
def test_other_statements_stay(statement: str) -> None:
    assert redaction.redact(statement) == statement


def test_names_stay() -> None:
    said = redaction.redact("""ALTER TABLE "o'clock" ADD passwort text DEFAULT 'abcdef'""")
    assert said == """ALTER TABLE "o'clock" ADD passwort text DEFAULT '***'"""


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT * FROM t1 WHERE a = 7 AND b IN ('x', E'y', $$z$$)",
         "SELECT * FROM t1 WHERE a = ? AND b IN ('', '', '***')"),
        ("SELECT $1, 1.5e3, .5, -7, 0xff, 1_000 -- 9", "SELECT $1, ?, ?, -?, ?, ?  "),
        ('SELECT "a 1".b2 FROM t LIMIT 10', 'SELECT "a 1".b2 FROM t LIMIT ?'),
        ("SELECT 'cut off", "SELECT '***'"),
        ("SET timezone = 'UTC'", "SET timezone = '***'"),
    ],
)  # fmt: skip
def test_constants_are_removed(statement: str, said: str) -> None:
    assert redaction.without_constants(statement) == said


pieces = st.sampled_from(
    ["'", "''", '"', "$$", "$a$", "\\", "\\'", "--", "/*", "*/", "\n", " ", "E'", "x", "password"]
)


@given(st.lists(pieces | st.text(max_size=3), max_size=30).map("".join))
@example("password'\\'")
@example("set token=a")
@example("''''''$$$$password")
@example("''e''password")
@example("e$$$$password")
@example("password''E'\\")
def test_it_is_never_longer_and_twice_changes_no_more(statement: str) -> None:
    once = redaction.redact(statement)
    assert redaction.redact(once) == once
    assert len(server_log.write({"message": once})) <= len(server_log.write({"message": statement}))


WORDS = [
    "PassW", "passphrase", "pwd", "pwds", "Secret", "credential", "token", "api_key", "APIKEY",
    "api__key", "private_key", "privatekey", "authorization", "bearer", "jwt", "connection",
    "connections", "dblink", "options", "set_config", "pgp_", "crypt", "bcrypt", "encrypt",
    "hmac", "://a@", "://", "execute", "options (", "\nexecute x", " ", "_", "\u0131",
    "\u017f", "\u212a",
]  # fmt: skip
words = st.sampled_from(WORDS)


@given(st.lists(words | st.text(max_size=3), max_size=6).map("".join))
def test_looking_for_signs_first_changes_no_answer(statement: str) -> None:
    assert redaction.is_suspicious(statement) == bool(redaction._SUSPICIOUS.search(statement))


@pytest.mark.parametrize("letter", ["'", "$$", "/*", "a", "://", "\\'"])
def test_no_text_takes_long(letter: str) -> None:
    redaction.redact(f"password {letter * 60_000}")


def logged_entry(text: str | None, message: str, sqlstate: str) -> tuple[str | None, str | None]:
    return without_secrets(server_log.LogEntry("error", text, sqlstate=sqlstate, message=message))


def test_an_error_does_not_quote_what_its_statement_hides() -> None:
    text = f'ALTER USER app PASSWORD "{SECRET}"'
    assert logged_entry(text, f'syntax error at or near ""{SECRET}""', "42601") == ("***", "***")
    text = f"SELECT crypt('{SECRET}', 'x')"
    assert logged_entry(text, "invalid salt", "22023") == ("SELECT crypt('***', '')", "***")
    assert logged_entry(None, "password is too long", "22023") == (None, "***")
    plain = ("SELECT 1/0", "division by zero", "22012")
    assert logged_entry(*plain) == plain[:2]
