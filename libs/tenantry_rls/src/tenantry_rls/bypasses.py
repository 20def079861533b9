"""Ways around the policies of tables: views, functions, rules. Pure: a catalog in, findings out."""

import re
from collections.abc import Iterator

from psycopg import sql

from tenantry_rls.catalog import Catalog, Function, Relation, Rule
from tenantry_rls.report import Finding

_SESSION_LEVEL = re.compile(
    r"set_config\s*\(\s*'app\.current_\w+'[^;]*,\s*false\s*\)"
    r"|\bSET\s+(SESSION\s+)?app\.current_\w+",
    re.IGNORECASE,
)
_DYNAMIC = re.compile(r"\bEXECUTE\b", re.IGNORECASE)
_READABLE_LANGUAGES = ("sql", "plpgsql")
_WRITES = {"INSERT", "UPDATE", "DELETE"}


def judge(catalog: Catalog) -> Iterator[Finding]:
    """Judge every view of customers' rows, and every function and rule."""
    for view in catalog.owners_views():
        yield from _view(view)
    for function in catalog.functions:
        yield from _function(catalog, function)
        yield from _in_a_policy(catalog, function)
    for rule in catalog.rules:
        yield from _rule(catalog, rule)


def _view(view: Relation) -> Iterator[Finding]:
    if not view.privileges:
        return
    if view.kind == "m":
        yield Finding(
            "materialized-view",
            view.label,
            "It is a materialized view of customers' rows.",
            "It holds what its owner saw when it was refreshed, and can have no policies.",
            _text("REVOKE ALL ON {} FROM PUBLIC, …;", view.identifier),
        )
    else:
        yield Finding(
            "view-of-the-owner",
            view.label,
            f"It reads with the rights of its owner, {_who(view)}.",
            "Policies ask who owns the view, not who looks through it.",
            _text("ALTER VIEW {} SET (security_invoker = true);", view.identifier),
        )


def _function(catalog: Catalog, function: Function) -> Iterator[Finding]:
    if _SESSION_LEVEL.search(function.source):
        yield Finding(
            "context-for-the-session",
            function.label,
            "It sets a context for the session instead of the transaction.",
            "A pooler hands the session on, and the context with it.",
            "-- In the function: set_config('app.current_…', …, true)",
        )
    fired = any(
        _WRITES & set(catalog.relations[oid].privileges)
        for oid in function.fires_on
        if oid in catalog.relations
    )
    if not (function.callable or fired):
        return
    for setting in function.settings:
        name = setting.partition("=")[0]
        if name.startswith("app.current_"):
            yield Finding(
                "function-in-a-context",
                function.label,
                f"It runs with a {name} of its own.",
                "Whoever calls it is somebody else for that time.",
                f"ALTER FUNCTION {function.signature} RESET {name};",
            )
    if function.leakproof:
        yield Finding(
            "function-leakproof",
            function.label,
            "It is LEAKPROOF.",
            "PostgreSQL may call it with other customers' rows before it asks their policies.",
            f"ALTER FUNCTION {function.signature} NOT LEAKPROOF;",
        )
    if function.definer and (touched := _touched(catalog, function)):
        yield Finding(
            "function-of-the-owner",
            function.label,
            f"It is SECURITY DEFINER, and {touched}.",
            f"It runs with the rights of {_who(function)}, whoever calls it or fires it.",
            f"ALTER FUNCTION {function.signature} SECURITY INVOKER;",
        )


def _touched(catalog: Catalog, function: Function) -> str | None:
    """Return how a function may touch customers' rows, as far as its text shows."""
    if function.language not in _READABLE_LANGUAGES:
        return f"what it does in {function.language} is unknown here"
    relations = [*(each.relation for each in catalog.tenants.values()), *catalog.views()]
    for relation in relations:
        if re.search(rf"\b{re.escape(relation.name)}\b", function.source, re.IGNORECASE):
            return f"touches {relation.label}"
    if _DYNAMIC.search(function.source):
        return "executes statements that it puts together"
    return None


def _in_a_policy(catalog: Catalog, function: Function) -> Iterator[Finding]:
    tables = [catalog.relations[oid] for oid in function.decides_on if oid in catalog.tenants]
    if function.replaceable and any(not table.owned for table in tables):
        yield Finding(
            "policy-function-replaceable",
            function.label,
            f"Policies of {', '.join(table.label for table in tables)} ask it, and "
            f"{catalog.role.name} may replace it.",
            "Whoever owns what a policy asks, decides what it lets through.",
            f"ALTER FUNCTION {function.signature} OWNER TO …;",
        )


def _rule(catalog: Catalog, rule: Rule) -> Iterator[Finding]:
    relation = catalog.relations[rule.table]
    customers = catalog.tenants.keys() | {view.oid for view in catalog.views()}
    touched = [catalog.relations[oid].label for oid in rule.touches if oid in customers]
    if touched and _WRITES & set(relation.privileges):
        yield Finding(
            "rule-of-the-owner",
            relation.label,
            f"Its rule {rule.name} touches {', '.join(touched)}.",
            f"What a rule does, it does with the rights of {_who(relation)}.",
            _text("DROP RULE {} ON {};", sql.Identifier(rule.name), relation.identifier)
            + "  -- a trigger in its place",
        )


def _who(owned: Relation | Function) -> str:
    strong = "a superuser or a role with BYPASSRLS, " if owned.owner_bypasses else ""
    return f"{strong}{owned.owner}"


def _text(template: str, *names: sql.Composable) -> str:
    return sql.SQL(template).format(*names).as_string()
