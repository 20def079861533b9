"""Which columns of tables a view shows, from the tree that PostgreSQL stores for it."""

import re
from collections.abc import Iterable

Origin = tuple[int, int]  # a relation's oid and a column's number
_TOKEN = re.compile(r"\\.|[{}]|:(resno|resorigtbl|resorigcol) (\d+)", re.DOTALL)


def origins(tree: str) -> dict[int, Origin]:
    """The origin of each column of a view, by the column's number.

    PostgreSQL has followed subselects and CTEs for it, but not other views. The columns of set
    operations have none. ``tree`` is ``pg_rewrite.ev_action``: nodes in braces, of which the
    outermost is the query, and those in it with a ``resno`` its columns.
    """
    found: dict[int, Origin] = {}
    depth = number = table = 0
    for match in _TOKEN.finditer(tree):
        piece, name = match.group(0), match.group(1)
        if piece == "{":
            depth += 1
        elif piece == "}":
            depth -= 1
        elif name and depth == 2:  # noqa: PLR2004 (a node of the query's)
            value = int(match.group(2))
            if name == "resno":
                number = value
            elif name == "resorigtbl":
                table = value
            elif table and value:
                found[number] = (table, value)
    return found


def base_columns(view: int, trees: dict[int, dict[int, Origin]]) -> Iterable[tuple[int, Origin]]:
    """The columns of a view with their origins in tables, through views of views.

    The origins in tables take the place of those in views, so that no path is followed twice.
    """
    for number in trees.get(view, {}):
        path = {(view, number): None}
        origin = trees[view][number]
        while (following := trees.get(origin[0], {}).get(origin[1])) and origin not in path:
            path[origin] = None
            origin = following
        for each, column in path:
            trees[each][column] = origin
        yield number, origin
