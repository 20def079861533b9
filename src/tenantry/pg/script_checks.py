"""Checks of tables and domains that old rows of a script no longer satisfy.

As ``constraints`` does for archives: a check is dropped before such rows and restored NOT VALID at
the end, and valid if all rows satisfy it.
"""

from tenantry.pg.script_session import Failed, Session

_OF: dict[bool, bytes] = {False: b"TABLE", True: b"DOMAIN"}
# Checks that are not inherited: once a parent's is dropped, those of its children are gone.
_CHECKS = b"""
    SELECT (k.contypid <> 0)::int,
        format('%I.%I', n.nspname, coalesce(c.relname, t.typname)), quote_ident(k.conname),
        pg_get_constraintdef(k.oid), quote_literal(obj_description(k.oid, 'pg_constraint')),
        format('%s.%s %s', n.nspname, coalesce(c.relname, t.typname), k.conname)
    FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid
        LEFT JOIN pg_type t ON t.oid = k.contypid
        JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, t.typnamespace)
    WHERE k.contype = 'c' AND k.convalidated AND k.coninhcount = 0
      AND coalesce(c.relowner, t.typowner) = current_user::regrole
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND (d.classid, d.objid)
          IN (('pg_class'::regclass, c.oid), ('pg_type'::regclass, t.oid)))
      AND {which} ORDER BY k.oid
"""
_NOT_NULL = b"""
    SELECT format('%I.%I', n.nspname, t.typname)
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'd' AND t.typnotnull AND t.typowner = current_user::regrole AND {which}
"""
_WHICH = b"{which}"
_THIS_DOMAIN = b"(n.nspname, t.typname) = (%s, %s)"


class Checks:
    """The checks that are dropped while rows are read, until ``restore``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dropped: list[list[bytes]] = []
        self._not_null: list[bytes] = []

    def suspend_of_tables(self) -> bool:
        """Drop the checks of tables. Returns whether there were any. Raises Failed."""
        before = len(self._dropped)
        while found := self._session.look(_CHECKS.replace(_WHICH, b"k.conrelid <> 0")):
            self._drop(found)
        return len(self._dropped) > before

    def suspend_of_domain(self, schema: bytes, name: bytes) -> bool:
        """Drop the checks of a domain, and its NOT NULL. Returns whether there were any.

        Not of others: PostgreSQL validates no constraint of a domain that is in an array somewhere.
        Raises Failed.
        """
        literals = tuple(b"'%s'" % each.replace(b"'", b"''") for each in (schema, name))
        this = _THIS_DOMAIN % literals
        checks = self._session.look(_CHECKS.replace(_WHICH, this))
        not_null = self._session.look(_NOT_NULL.replace(_WHICH, this))
        self._drop(checks)
        for (domain,) in not_null:
            self._session.rows(b"ALTER DOMAIN %s DROP NOT NULL" % domain)
            self._not_null.append(domain)
        return bool(checks or not_null)

    def _drop(self, found: list[list[bytes]]) -> None:
        for of_domain, relation, name, *_ in found:
            kind = _OF[of_domain == b"1"]
            self._session.rows(b"ALTER %s %s DROP CONSTRAINT %s" % (kind, relation, name))
        self._dropped += found

    def restore(self) -> tuple[list[str], list[str]]:
        """Restore all of them. Returns those in another form, and those lost, with the reasons."""
        changed, lost = [], []
        for of_domain, relation, name, definition, comment, words in self._dropped:
            kind = _OF[of_domain == b"1"]
            what = f"CHECK CONSTRAINT {words.decode(errors='replace')}"
            add = b"ALTER %s %s ADD CONSTRAINT %s %s NOT VALID" % (kind, relation, name, definition)
            if why := self._fails(add):
                lost.append(f"{what}: {why}")
                continue
            if comment:
                of = b"DOMAIN " if of_domain == b"1" else b""
                says = (name, of, relation, comment)
                self._session.rows(b"COMMENT ON CONSTRAINT %s ON %s%s IS %s" % says)
            validate = b"ALTER %s %s VALIDATE CONSTRAINT %s" % (kind, relation, name)
            if why := self._fails(validate):
                changed.append(f"{what}: It is NOT VALID: {why}")
        lost += [
            f"NOT NULL of DOMAIN {domain.decode(errors='replace')}: {why}"
            for domain in self._not_null
            if (why := self._fails(b"ALTER DOMAIN %s SET NOT NULL" % domain))
        ]
        return changed, lost

    def _fails(self, change: bytes) -> str:
        """Return why a change fails; empty if it succeeds. Functions can resolve all names."""
        try:
            with self._session.all_schemas(), self._session.savepoint():
                self._session.rows(change)
        except Failed as error:
            return error.said
        return ""
