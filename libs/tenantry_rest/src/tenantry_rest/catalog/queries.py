"""The queries on PostgreSQL's catalogs that the schema cache is made of.

``search_path`` is empty meanwhile, so that names of types and functions come qualified.
"""

RELATIONS = "c.relkind IN ('r', 'v', 'm', 'f', 'p') AND NOT c.relispartition"

TABLES = f"""
SELECT c.oid, n.nspname, c.relname, pg_catalog.obj_description(c.oid, 'pg_class'),
       c.relkind IN ('v', 'm'),
       c.relkind IN ('r', 'p') OR events.bits & 8 = 8,
       c.relkind IN ('r', 'p') OR events.bits & 4 = 4,
       c.relkind IN ('r', 'p') OR events.bits & 16 = 16,
       coalesce(key.columns, '{{}}')
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (SELECT CASE WHEN c.relkind IN ('v', 'f')
           THEN pg_catalog.pg_relation_is_updatable(c.oid, true) ELSE 0 END AS bits) events
  LEFT JOIN LATERAL (
       SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.position) AS columns
         FROM pg_catalog.pg_constraint p
        CROSS JOIN LATERAL pg_catalog.unnest(p.conkey) WITH ORDINALITY AS k (number, position)
         JOIN pg_catalog.pg_attribute a ON a.attrelid = p.conrelid AND a.attnum = k.number
        WHERE p.conrelid = c.oid AND p.contype = 'p') key ON true
 WHERE {RELATIONS} AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""  # noqa: S608 (of constants)

# Each type with the one that it is at the bottom: domains can be of domains.
BASE = """base (oid, base) AS (
    SELECT oid, oid FROM pg_catalog.pg_type WHERE typtype <> 'd'
    UNION ALL
    SELECT t.oid, base.base FROM base
      JOIN pg_catalog.pg_type t ON t.typtype = 'd' AND t.typbasetype = base.oid
)"""

COLUMNS = f"""
WITH RECURSIVE {BASE}
SELECT a.attrelid, a.attnum, a.attname, pg_catalog.col_description(a.attrelid, a.attnum),
       NOT (a.attnotnull OR t.typtype = 'd' AND t.typnotnull),
       CASE WHEN t.typtype = 'd' AND bn.nspname = 'pg_catalog'
            THEN pg_catalog.format_type(b.oid, NULL)
            WHEN t.typtype <> 'd' AND tn.nspname = 'pg_catalog'
            THEN pg_catalog.format_type(a.atttypid, NULL)
            ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END,
       pg_catalog.format_type(a.atttypid, a.atttypmod),
       information_schema._pg_char_max_length(
           information_schema._pg_truetypid(a, t), information_schema._pg_truetypmod(a, t))::int,
       CASE WHEN a.attgenerated <> '' THEN NULL
            WHEN ad.adbin IS NOT NULL THEN pg_catalog.pg_get_expr(ad.adbin, ad.adrelid)
            WHEN t.typdefaultbin IS NOT NULL THEN pg_catalog.pg_get_expr(t.typdefaultbin, 0)
            WHEN a.attidentity = 'd' THEN (
                SELECT pg_catalog.format('nextval(%L)', d.objid::pg_catalog.regclass)
                  FROM pg_catalog.pg_depend d
                 WHERE d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'i'
                   AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass LIMIT 1) END,
       coalesce((SELECT pg_catalog.array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
                   FROM pg_catalog.pg_enum e
                  WHERE e.enumtypid = b.oid),
                '{{}}')
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
  JOIN base ON base.oid = t.oid
  JOIN pg_catalog.pg_type b ON b.oid = base.base
  JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace
  LEFT JOIN pg_catalog.pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
 WHERE {RELATIONS} AND a.attnum > 0 AND NOT a.attisdropped
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
 ORDER BY a.attrelid, a.attnum
"""  # noqa: S608 (of constants)

FOREIGN_KEYS = """
SELECT k.conname, k.conrelid, k.confrelid, k.conkey, k.confkey,
       EXISTS (SELECT FROM pg_catalog.pg_constraint u
                WHERE u.conrelid = k.conrelid AND u.contype IN ('p', 'u')
                  AND u.conkey @> k.conkey AND u.conkey <@ k.conkey)
  FROM pg_catalog.pg_constraint k
 WHERE k.contype = 'f' AND k.conparentid = 0
 ORDER BY k.conrelid, k.conname
"""

VIEWS = """
SELECT c.oid, r.ev_action::text
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN'
 WHERE c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""

COMPUTED = """
SELECT n.nspname, p.proname, an.nspname, ac.relname, rn.nspname, rc.relname,
       NOT p.proretset OR p.prorows = 1
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_class ac ON ac.reltype = p.proargtypes[0] AND ac.reltype <> 0
  JOIN pg_catalog.pg_namespace an ON an.oid = ac.relnamespace
  JOIN pg_catalog.pg_class rc ON rc.reltype = p.prorettype AND rc.reltype <> 0
  JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace
 WHERE p.pronargs = 1 AND ac.relkind IN ('r', 'v', 'm', 'f', 'p')
   AND rc.relkind IN ('r', 'v', 'm', 'f', 'p')
"""

FUNCTIONS = f"""
WITH RECURSIVE {BASE}, arguments AS (
    SELECT p.oid, pg_catalog.count(*) FILTER (WHERE coalesce(a.name, '') = '') AS unnamed,
           pg_catalog.array_agg(a.type ORDER BY a.position) AS types,
           pg_catalog.json_agg(pg_catalog.json_build_array(
               coalesce(a.name, ''), a.type::pg_catalog.regtype::text,
               CASE a.type WHEN 'bit'::pg_catalog.regtype THEN 'bit varying'
                    WHEN 'bit[]'::pg_catalog.regtype THEN 'bit varying[]'
                    WHEN 'character'::pg_catalog.regtype THEN 'character varying'
                    WHEN 'character[]'::pg_catalog.regtype THEN 'character varying[]'
                    ELSE a.type::pg_catalog.regtype::text END,
               a.position <= p.pronargs - p.pronargdefaults,
               coalesce(a.mode = 'v', false)) ORDER BY a.position) AS list
      FROM pg_catalog.pg_proc p
     CROSS JOIN LATERAL unnest(p.proargnames, p.proargtypes, p.proargmodes)
           WITH ORDINALITY AS a (name, type, mode, position)
     WHERE a.type IS NOT NULL GROUP BY p.oid
)
SELECT n.nspname, p.proname, pg_catalog.obj_description(p.oid, 'pg_proc'),
       coalesce(a.list, '[]'), tn.nspname, coalesce(tc.relname, t.typname), p.proretset,
       t.typtype = 'c' OR coalesce(p.proargmodes::text[] && '{{t,b,o}}', false), p.provolatile,
       ARRAY(SELECT s.setting FROM pg_catalog.unnest(p.proconfig) AS s (setting)
              WHERE pg_catalog.split_part(s.setting, '=', 1) = ANY ($2))
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN base ON base.oid = p.prorettype
  JOIN pg_catalog.pg_type t ON t.oid = base.base
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_class tc ON tc.oid = t.typrelid
  LEFT JOIN arguments a ON a.oid = p.oid
 WHERE p.prokind = 'f' AND t.oid <> 'trigger'::pg_catalog.regtype AND n.nspname = ANY ($1)
   AND (coalesce(a.unnamed, 0) = 0 OR a.unnamed = 1 AND a.types[1] IN (
        'bytea'::pg_catalog.regtype, 'json'::pg_catalog.regtype, 'jsonb'::pg_catalog.regtype,
        'text'::pg_catalog.regtype, 'xml'::pg_catalog.regtype))
"""  # noqa: S608 (of constants)

REPRESENTATIONS = """
SELECT c.castsource::pg_catalog.regtype::text, c.casttarget::pg_catalog.regtype::text,
       c.castfunc::pg_catalog.regproc::text
  FROM pg_catalog.pg_cast c
  JOIN pg_catalog.pg_type s ON s.oid = c.castsource
  JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
 WHERE c.castcontext = 'i' AND c.castmethod = 'f'
   AND pg_catalog.has_function_privilege(c.castfunc, 'EXECUTE')
   AND (s.typtype = 'd'
        AND c.casttarget IN ('json'::pg_catalog.regtype, 'text'::pg_catalog.regtype)
        OR t.typtype = 'd'
        AND c.castsource IN ('json'::pg_catalog.regtype, 'text'::pg_catalog.regtype))
"""

HANDLERS = """
WITH media AS (
    SELECT oid, pg_catalog.lower(typname) AS name, typname AS shown FROM pg_catalog.pg_type
     WHERE typtype = 'd'
       AND (typname ~* '^[a-z0-9.-]+/[a-z0-9.+-]+$' OR typname = '*/*')
)
SELECT n.nspname, p.proname, tn.nspname, t.typname, media.name, media.shown
  FROM media
  JOIN pg_catalog.pg_proc p ON p.prorettype = media.oid AND p.prokind = 'a' AND p.pronargs = 1
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
 WHERE n.nspname = ANY ($1) AND (t.typrelid <> 0 OR t.typname = 'anyelement')
UNION ALL
SELECT NULL, NULL, n.nspname, p.proname, media.name, media.shown
  FROM media
  JOIN pg_catalog.pg_proc p ON p.prorettype = media.oid AND p.prokind = 'f' AND NOT p.proretset
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = ANY ($1)
"""

ROLE_SETTINGS = """
SELECT r.rolname, s.setting
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
 CROSS JOIN LATERAL pg_catalog.unnest(r.rolconfig) AS s (setting)
  JOIN pg_catalog.pg_settings p ON p.name = pg_catalog.split_part(s.setting, '=', 1)
 WHERE m.member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
   AND r.rolname <> ALL ($1::pg_catalog.text[]) AND (p.context = 'user' {privileged})
"""

PRIVILEGED = "OR pg_catalog.has_parameter_privilege(p.name, 'SET')"

DATABASE_SETTINGS = """
SELECT pg_catalog.split_part(s.setting, '=', 1),
       pg_catalog.substr(s.setting, pg_catalog.strpos(s.setting, '=') + 1), d.setdatabase <> 0
  FROM pg_catalog.pg_db_role_setting d
 CROSS JOIN LATERAL pg_catalog.unnest(d.setconfig) AS s (setting)
 WHERE d.setrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
   AND d.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
                              WHERE datname = pg_catalog.current_database()))
   AND s.setting LIKE 'pgrst.%'
 ORDER BY d.setdatabase
"""

TRANSACTION_SETTINGS = """
SELECT 'pgrst.' || name, pg_catalog.current_setting('pgrst.' || name, true), true
  FROM pg_catalog.unnest($1::text[]) AS name
 WHERE pg_catalog.current_setting('pgrst.' || name, true) <> ''
"""

ACCESSIBLE_TABLES = f"""
SELECT c.relname
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {RELATIONS} AND n.nspname = $1
   AND (pg_catalog.pg_has_role(c.relowner, 'USAGE')
        OR pg_catalog.has_table_privilege(c.oid,
               'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
"""  # noqa: S608 (of constants)

ACCESSIBLE_FUNCTIONS = """
SELECT p.proname,
       pg_catalog.to_json(ARRAY(
           SELECT coalesce(a.name, '')
             FROM unnest(p.proargnames, p.proargtypes) WITH ORDINALITY AS a (name, type, position)
            WHERE a.type IS NOT NULL ORDER BY a.position))
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = $1 AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
"""

SCHEMA_COMMENT = """
SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace
 WHERE nspname = $1
"""
