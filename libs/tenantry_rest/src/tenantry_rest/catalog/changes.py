"""Whether the schema cache could differ, and how large it would be, by one short query each."""

from collections.abc import Collection

from tenantry_rest.catalog.fetching import Connection, fetch

# Objects that are not PostgreSQL's own have an oid of at least 16384 (FirstNormalObjectId), so that
# each part reads an index from there on, and takes as long as the schema is large.
_VERSIONS = """
SELECT '{part}', pg_catalog.count(*),
       pg_catalog.bit_xor(pg_catalog.hashint8extended(
           ({oid})::pg_catalog.int8 << 32 | (v.xmin::pg_catalog.text)::pg_catalog.int8,
           {seed}))
  FROM pg_catalog.{catalog} v {where}
"""
_RELATION = (
    "JOIN pg_catalog.pg_class c ON c.oid = v.{of} WHERE v.{of} >= 16384"
    " AND c.relkind IN ('r', 'v', 'm', 'f', 'p', 'c') AND c.relpersistence <> 't'"
)
_COLUMN = "v.attnum::pg_catalog.int8"
_DESCRIBED = "v.objsubid::pg_catalog.int8"
_VERSIONED = (
    (
        "pg_class",
        "v.oid",
        "0",
        "WHERE v.oid >= 16384 AND v.relkind IN ('r', 'v', 'm', 'f', 'p', 'c')"
        " AND v.relpersistence <> 't'",
    ),
    # Several columns or comments of one table are of one transaction: their numbers differ.
    ("pg_attribute", "v.attrelid", _COLUMN, _RELATION.format(of="attrelid")),
    ("pg_constraint", "v.oid", "0", _RELATION.format(of="conrelid")),
    ("pg_rewrite", "v.oid", "0", _RELATION.format(of="ev_class")),
    ("pg_trigger", "v.oid", "0", _RELATION.format(of="tgrelid") + " AND NOT v.tgisinternal"),
    ("pg_proc", "v.oid", "0", "WHERE v.oid >= 16384"),
    ("pg_type", "v.oid", "0", "WHERE v.oid >= 16384 AND v.typtype IN ('d', 'e')"),
    ("pg_enum", "v.oid", "0", ""),
    ("pg_cast", "v.oid", "0", "WHERE v.oid >= 16384"),
    ("pg_namespace", "v.oid", "0", "WHERE v.nspname !~ '^pg_'"),
    (
        "pg_description",
        "v.objoid",
        _DESCRIBED,
        "WHERE v.objoid >= 16384 OR v.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass",
    ),
    (
        "pg_auth_members",
        "v.roleid",
        "0",
        "WHERE v.member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)",
    ),
)
# What the schema cache is made of, each version of a row by its transaction (xmin): whatever is
# created, changed, dropped, granted or commented on. Neither rows of tables nor temporary tables
# are in it, and VACUUM and ANALYZE do not change it.
FINGERPRINT = " UNION ALL ".join(
    _VERSIONS.format(part=catalog, catalog=catalog, oid=oid, seed=seed, where=where)
    for catalog, oid, seed, where in _VERSIONED
)
_SET_ROLES = """
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
 WHERE m.member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
   AND r.rolname <> ALL ($1::pg_catalog.text[])
"""
FINGERPRINT += f""" UNION ALL
SELECT 'settings', pg_catalog.count(*),
       pg_catalog.bit_xor(pg_catalog.hashtextextended(r.rolname || r.rolconfig::pg_catalog.text, 0))
{_SET_ROLES}
"""

# What is read and has no limit of its own: comments, views, and settings of functions and roles;
# defaults, once for each column, those of domains and the labels of enums too; and numbers of
# objects.
SIZE = f"""
SELECT (SELECT coalesce(pg_catalog.sum(pg_catalog.octet_length(description)), 0)
          FROM pg_catalog.pg_description
         WHERE objoid >= 16384 OR classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass)
     + (SELECT coalesce(pg_catalog.sum(pg_catalog.octet_length(ev_action::pg_catalog.text)), 0)
          FROM pg_catalog.pg_rewrite WHERE ev_class >= 16384)
     + (SELECT coalesce(pg_catalog.sum(pg_catalog.octet_length(adbin::pg_catalog.text)), 0)
          FROM pg_catalog.pg_attrdef)
     + (SELECT coalesce(pg_catalog.sum(pg_catalog.octet_length(e.enumlabel::pg_catalog.text)), 0)
          FROM pg_catalog.pg_enum e
          JOIN pg_catalog.pg_type t ON e.enumtypid IN (t.oid, t.typbasetype)
          JOIN pg_catalog.pg_attribute a ON a.atttypid = t.oid AND a.attrelid >= 16384)
     + (SELECT coalesce(pg_catalog.sum(
                   pg_catalog.octet_length(t.typdefaultbin::pg_catalog.text)), 0)
          FROM pg_catalog.pg_type t
          JOIN pg_catalog.pg_attribute a ON a.atttypid = t.oid AND a.attrelid >= 16384)
     + (SELECT coalesce(pg_catalog.sum(500 + 500 * pronargs
                   + coalesce(pg_catalog.octet_length(proconfig::pg_catalog.text), 0)), 0)
          FROM pg_catalog.pg_proc WHERE oid >= 16384)
     + (SELECT coalesce(pg_catalog.sum(
                   pg_catalog.octet_length(r.rolconfig::pg_catalog.text)), 0) {_SET_ROLES})
     + 200 * (SELECT pg_catalog.count(*)
                FROM pg_catalog.pg_attribute WHERE attrelid >= 16384 AND attnum > 0)
     + 300 * (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class WHERE oid >= 16384)
     + 500 * (SELECT pg_catalog.count(*)
                FROM pg_catalog.pg_constraint WHERE conrelid >= 16384 AND contype = 'f')
"""  # noqa: S608 (of constants)


async def load_fingerprint(connection: Connection, excluded: Collection[str] = ()) -> str:
    """Read what differs whenever the schema cache could.

    Read it before the schema cache that it is to describe: what changes in between is then noticed
    the next time. ``excluded`` are roles whose settings are not in it.

    Raises:
        psycopg.Error: the database does not answer.
    """
    return repr(await fetch(connection, [(FINGERPRINT, [list(excluded)])]))


async def measure_schema(connection: Connection, excluded: Collection[str] = ()) -> int:
    """Read about how many bytes reading the schema cache would transfer.

    ``excluded`` are roles whose settings are not in it.

    Raises:
        psycopg.Error: the database does not answer.
    """
    [[(size,)]] = await fetch(connection, [(SIZE, [list(excluded)])])
    return int(size)
