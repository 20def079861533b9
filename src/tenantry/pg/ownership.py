"""Check that objects in a tenant's database belong to its tenant or to PostgreSQL itself.

An object of another role would run with that role's rights for every caller (SECURITY DEFINER), or
be restored with a backup. pg_shdepend does not list them all: it has no entries for the bootstrap
superuser (manual, section 53.51). So each catalog that has an owner is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from tenantry.pg import preloading, visibility
from tenantry.pg.api_roles import SHARED
from tenantry.pg.connections import ADMIN

_BOOTSTRAP = 10  # BOOTSTRAP_SUPERUSERID, the oid of the first superuser (pg_authid.dat)
_FIRST_OID = 16384  # FirstNormalObjectId: initdb's objects are all below it (manual, section 74.2)

# Rows have the catalog, the object and its owner. Dependent parts (a row type, an index, a toast
# table) are left out by their parent's pg_depend entry of type i.
_FOREIGN: LiteralString = """
    WITH owned (classid, objid, owner) AS (
        SELECT 'pg_class'::regclass, oid, relowner FROM pg_class WHERE relkind IN
            ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
        UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
            WHERE typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid
                AND c.relkind = 'c')
        UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace
            WHERE nspname !~ '^pg_(toast_)?temp_'
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner FROM pg_operator
        UNION ALL SELECT 'pg_opclass'::regclass, oid, opcowner FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner FROM pg_opfamily
        UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner FROM pg_conversion
        UNION ALL SELECT 'pg_collation'::regclass, oid, collowner FROM pg_collation
        UNION ALL SELECT 'pg_language'::regclass, oid, lanowner FROM pg_language
        UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner FROM pg_statistic_ext
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner FROM pg_ts_dict
        UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner FROM pg_ts_config
        UNION ALL SELECT 'pg_extension'::regclass, oid, extowner FROM pg_extension
        UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner FROM pg_event_trigger
        UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner FROM pg_publication
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner FROM pg_foreign_server
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwowner
            FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomowner FROM pg_largeobject_metadata
        UNION ALL SELECT 'pg_default_acl'::regclass, oid, defaclrole FROM pg_default_acl
    )
    SELECT coalesce(i.type, o.classid::text) AS kind, coalesce(i.identity, o.objid::text) AS name,
           pg_get_userbyid(o.owner)::text AS owner
    FROM owned o LEFT JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) i ON true
    WHERE o.objid >= %(first)s AND pg_get_userbyid(o.owner) <> ALL (%(tenants)s)
      AND NOT EXISTS (SELECT FROM pg_depend d
          WHERE d.classid = o.classid AND d.objid = o.objid AND d.objsubid = 0
            AND (d.deptype = 'i'
                 -- An extension's script runs as a superuser: the bootstrap one if it is trusted.
                 OR (d.deptype = 'e' AND (o.owner = %(bootstrap)s
                     OR pg_get_userbyid(o.owner) = %(admin)s))))
      AND (pg_get_userbyid(o.owner) <> %(admin)s OR o.classid <> 'pg_proc'::regclass
           OR i.identity <> ALL (%(of_the_template)s))
      AND (pg_get_userbyid(o.owner) <> %(admin)s OR NOT (
           o.classid = 'pg_namespace'::regclass AND i.identity = %(preloading)s
           OR o.classid = 'pg_extension'::regclass AND i.identity = ANY (%(preloaded)s)))
    ORDER BY 1, 2 LIMIT 100
"""


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object in a tenant's database that belongs to another role."""

    kind: str
    name: str
    owner: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.owner}"


async def foreign_objects(
    session: AsyncConnection[TupleRow],
    tenants: Sequence[str],
    *,
    of_the_template: Sequence[str] = visibility.FUNCTIONS,
) -> list[Foreign]:
    """Return the objects that neither these roles own nor PostgreSQL itself; 100 at most.

    What shared roles own is left out: reconciliation gives it away, and it has no rights that the
    tenant did not grant. So are functions that every database has from the template, and the
    extensions that the platform creates on instances. Members of a
    tenant's extension may belong to the bootstrap superuser, and to nobody else: a tenant can add
    what it owns to an extension of its own.
    """
    async with session.cursor(row_factory=class_row(Foreign)) as cursor:
        await cursor.execute(
            _FOREIGN,
            {
                "first": _FIRST_OID,
                "tenants": [*tenants, *SHARED],
                "bootstrap": _BOOTSTRAP,
                "admin": ADMIN,
                "of_the_template": list(of_the_template),
                "preloading": preloading.SCHEMA,
                "preloaded": [*preloading.ALLOWED],
            },
        )
        return await cursor.fetchall()
