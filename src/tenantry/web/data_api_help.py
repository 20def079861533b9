"""What comes after a data API is enabled: a table's grants, and requests for its rows. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from psycopg import sql

from tenantry.web.words import within_quotes

_REST = "/rest/v1"  # which clients of Supabase add themselves


@dataclass(frozen=True, slots=True)
class Example:
    """A table by its title, the SQL that lets everybody read it, and two requests for its rows."""

    title: str
    grants: str
    curl: str
    supabase: str


def example(url: str, schemas: Sequence[str], schema: str, table: str) -> Example:
    """Return what makes a table of one of the exposed ``schemas`` readable at ``url``."""
    profile = within_quotes(f"Accept-Profile: {schema}")
    chosen = "" if schema == schemas[0] else f" \\\n  -H '{profile}'"
    place = f"{url}/{quote(table, safe='')}?limit=5"
    option = "" if schema == "public" else f", {{ db: {{ schema: {json.dumps(schema)} }} }}"
    return Example(
        title=f"{schema}.{table}",
        grants=_grants(schema, table),
        curl=f"curl '{within_quotes(place)}'{chosen} \\\n  -H \"apikey: $ANON_KEY\"",
        supabase='import { createClient } from "@supabase/supabase-js";\n\n'
        f"const client = createClient({json.dumps(url.removesuffix(_REST))}, ANON_KEY{option});\n"
        f"const {{ data, error }} = await client.from({json.dumps(table)}).select().limit(5);",
    )


def _grants(schema: str, table: str) -> str:
    text = sql.SQL(
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;\n"
        "GRANT SELECT ON {table} TO anon, authenticated;\n"
        "CREATE POLICY everybody_reads ON {table} FOR SELECT\n"
        "  TO anon, authenticated USING (true);"
    )
    return text.format(table=sql.Identifier(schema, table)).as_string(None)
