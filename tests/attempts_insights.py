"""What a tenant asks the REST API for, with a key of its own, to get at others' sessions."""

import httpx

from attempts import DIRECT, NOTHING, THROUGH, Attempt, Scenario, Try
from clients import do

API = "REST API"
_OWN = "only sessions of the database's own roles in its own databases are read and signalled"


def with_own_key(scenario: Scenario) -> httpx.Client:
    """Log in to the API as the tenant's customer, with the scopes for its databases."""
    with scenario.platform.client() as api:
        asked = {
            "name": "attempts",
            "scopes": [
                *("databases:read", "databases:write", "metrics:read", "data:read", "data:write")
            ],
            "customerEmail": scenario.tenant["owner_email"],
        }
        key = api.post("/api/api-keys", json=asked).json()["data"]["key"]
    return scenario.platform.client(key)


def _asking(method: str, path: str, body: object) -> Try:
    """Try a request, whose success is the way through; the answer is the problem's code."""

    def tries(scenario: Scenario, _: str) -> str:
        ids = {"id": scenario.tenant["id"], "foreign_id": scenario.neighbour["id"]}
        with with_own_key(scenario) as api:
            answer = api.request(method, path.format(**ids, **scenario.words), json=body)
        return THROUGH if answer.is_success else str(answer.json()["code"])

    return tries


def _request(name: str, method: str, path: str, held_by: str, body: object = None) -> Attempt:
    tries, shown = _asking(method, path, body), f"`{method} {path}`"
    return Attempt(name, shown, held_by, tries, "not_found", None, endpoints=(API,))


_OUT_OF_ROLE = """
    CREATE OR REPLACE FUNCTION public.out_of_role() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'RESET ROLE';
        RETURN (SELECT rolpassword FROM pg_catalog.pg_authid LIMIT 1);
    END $$
"""


def _explain(scenario: Scenario, which: str, sql: str, first: str = "SELECT 1") -> str:
    do(scenario.url(DIRECT), first)
    made = {"id": scenario.tenant["id"], "foreign_id": scenario.neighbour["id"]}[which]
    with with_own_key(scenario) as api:
        answer = api.post(f"/api/databases/{made}/explain", json={"sql": sql, "analyze": True})
    return THROUGH if answer.is_success else str(answer.json()["code"])


def _figures(scenario: Scenario, path: str) -> str:
    with with_own_key(scenario) as api:
        answer = api.get(path, params={"ids": str(scenario.neighbour["id"])}).json()
    return THROUGH if answer["data"] else NOTHING


_ROWS = "rows of other customers do not exist for a customer's key"

INSIGHTS: tuple[Attempt, ...] = (
    _request("ask-for-sessions", "GET", "/api/databases/{foreign_id}/sessions", _ROWS),
    _request("ask-for-locks", "GET", "/api/databases/{foreign_id}/locks", _ROWS),
    _request("ask-for-tables", "GET", "/api/databases/{foreign_id}/tables", _ROWS),
    _request("ask-for-queries", "GET", "/api/databases/{foreign_id}/queries", _ROWS),
    _request("ask-for-metrics", "GET", "/api/databases/{foreign_id}/metrics", _ROWS),
    Attempt("ask-for-sparklines", "`GET /api/metrics/sparklines?ids={foreign_id}`", _ROWS,
        lambda scenario, _: _figures(scenario, "/api/metrics/sparklines"), NOTHING, None, (API,)),
    Attempt("ask-for-latest-sample", "`GET /api/metrics/latest?ids={foreign_id}`", _ROWS,
        lambda scenario, _: _figures(scenario, "/api/metrics/latest"), NOTHING, None, (API,)),
    _request("scrape-neighbour", "GET", "/api/databases/{foreign_id}/metrics/prometheus", _ROWS),
    _request("ask-for-query-history", "GET",
        "/api/databases/{foreign_id}/queries?since=2026-01-01T00:00:00Z", _ROWS),
    _request("reset-queries", "POST", "/api/databases/{foreign_id}/queries/reset", _ROWS),
    Attempt("explain-as-neighbour", "`POST /api/databases/{foreign_id}/explain`", _ROWS,
        lambda scenario, _: _explain(scenario, "foreign_id", "SELECT 1"), "not_found", None,
        (API,)),
    Attempt("explain-verifiers", "`POST …/explain` of `SELECT rolpassword FROM pg_authid`",
        "a visitor, with the rights of the tenant's role", lambda scenario, _: _explain(
            scenario, "id", "SELECT rolpassword FROM pg_authid"), "invalid_input", None, (API,)),
    Attempt("explain-out-of-role", "`POST …/explain` of a function that does `RESET ROLE`",
        "the visitor is a member of the tenant's role only", lambda scenario, _: _explain(
            scenario, "id", "SELECT out_of_role()", _OUT_OF_ROLE), "invalid_input", None, (API,)),
    _request("run-sql-as-neighbour", "POST", "/api/databases/{foreign_id}/sql", _ROWS,
        {"sql": "SELECT 1"}),
    Attempt("run-verifiers", "`POST …/sql` of `SELECT rolpassword FROM pg_authid`",
        "a visitor, with the rights of the tenant's role", _asking("POST",
            "/api/databases/{id}/sql", {"sql": "SELECT rolpassword FROM pg_authid"}),
        "statement_failed", None, (API,)),
    Attempt("run-out-of-role", "`POST …/sql` of `RESET ROLE`, then the same",
        "the session begins as the tenant's role; the visitor is a member of that only",
        _asking("POST", "/api/databases/{id}/sql",
            {"sql": "RESET ROLE; SELECT rolpassword FROM pg_authid", "read_only": False}),
        "statement_failed", None, (API,)),
    _request("ask-for-advice", "GET", "/api/databases/{foreign_id}/advice", _ROWS),
    _request("mute-as-neighbour", "POST", "/api/databases/{foreign_id}/advice/mutes", _ROWS,
        {"code": "bloat", "object": "public.any"}),
    _request("vacuum-as-neighbour", "POST", "/api/databases/{foreign_id}/vacuum", _ROWS, {}),
    _request("analyze-as-neighbour", "POST", "/api/databases/{foreign_id}/analyze", _ROWS, {}),
    _request("reindex-as-neighbour", "POST", "/api/databases/{foreign_id}/reindex", _ROWS,
        {"indexes": ["public.any"]}),
    _request("create-index-as-neighbour", "POST", "/api/databases/{foreign_id}/indexes", _ROWS,
        {"table": "public.any", "columns": ["id"]}),
    _request("end-session-as-neighbour", "POST",
        "/api/databases/{foreign_id}/sessions/{neighbour_pid}/terminate", _ROWS),
    _request("end-session-of-neighbour", "POST",
        "/api/databases/{id}/sessions/{neighbour_pid}/terminate", _OWN),
    _request("cancel-session-of-neighbour", "POST",
        "/api/databases/{id}/sessions/{neighbour_pid}/cancel", _OWN),
    _request("end-session-of-platform", "POST",
        "/api/databases/{id}/sessions/{platform_pid}/terminate", _OWN),
)  # fmt: skip
