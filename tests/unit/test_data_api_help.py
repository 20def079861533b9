"""What the console offers once a data API is enabled: grants, and requests for rows."""

import shlex

from pglast import parse_sql

from tenantry.web import data_api_help

URL = "https://db.example.com:3001/tenant_a/rest/v1"


def test_a_table_is_granted_and_requested() -> None:
    found = data_api_help.example(URL, ["public", "api"], "public", "todos")
    assert found.title == "public.todos"
    assert found.grants.splitlines()[:2] == [
        'ALTER TABLE "public"."todos" ENABLE ROW LEVEL SECURITY;',
        'GRANT SELECT ON "public"."todos" TO anon, authenticated;',
    ]
    words = shlex.split(found.curl.replace("\\\n", ""))
    assert words == ["curl", f"{URL}/todos?limit=5", "-H", "apikey: $ANON_KEY"]
    assert 'createClient("https://db.example.com:3001/tenant_a", ANON_KEY);' in found.supabase


def test_names_are_nothing_but_names() -> None:
    evil = "t\"; DROP TABLE x; --'$(id)\n\\"
    found = data_api_help.example(URL, ["public", "a'b"], "a'b", evil)
    assert [type(each.stmt).__name__ for each in parse_sql(found.grants)] == [
        "AlterTableStmt",
        "GrantStmt",
        "CreatePolicyStmt",
    ]
    words = shlex.split(found.curl.replace("\\\n", ""))
    assert words[1].startswith(f"{URL}/t%22%3B%20DROP")
    assert words[2:] == ["-H", "Accept-Profile: a'b", "-H", "apikey: $ANON_KEY"]
    assert 'schema: "a\'b"' in found.supabase
    assert "\\n" in found.supabase.splitlines()[3]
