"""The rules of lint: what each finds, why that is dangerous, and what to do instead."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule finds, why it is dangerous, and what to do instead."""

    id: str
    what: str
    why: str
    instead: str


RULES = {
    rule.id: rule
    for rule in (
        Rule(
            "unreadable",
            "the file is not read by PostgreSQL's parser",
            "nothing in it can be checked, and it is sent to the server as a whole",
            "fix the error; psql's own commands and COPY … FROM STDIN cannot be used",
        ),
        Rule(
            "index-blocks-writes",
            "CREATE INDEX without CONCURRENTLY",
            "nobody can write to the table until the index is built",
            "CREATE INDEX CONCURRENTLY, in a file of its own",
        ),
        Rule(
            "drop-index-blocks",
            "DROP INDEX without CONCURRENTLY",
            "it waits for every transaction on the table, and whoever comes after waits with it",
            "DROP INDEX CONCURRENTLY, in a file of its own",
        ),
        Rule(
            "reindex-blocks-writes",
            "REINDEX without CONCURRENTLY",
            "nobody can write to the table until the index is built",
            "REINDEX (CONCURRENTLY)",
        ),
        Rule(
            "refresh-blocks-reads",
            "REFRESH MATERIALIZED VIEW without CONCURRENTLY",
            "nobody can read the view until it is filled",
            "a unique index on the view, and REFRESH MATERIALIZED VIEW CONCURRENTLY",
        ),
        Rule(
            "column-rewrites-table",
            "ADD COLUMN with a value that is worked out for each row",
            "the whole table is rewritten, and nobody can read or write it meanwhile",
            "add the column without the default, SET DEFAULT, then fill it in batches",
        ),
        Rule(
            "column-without-default",
            "ADD COLUMN … NOT NULL without a default",
            "it fails on every table that has rows",
            "give it a constant DEFAULT, or add it as nullable first",
        ),
        Rule(
            "type-rewrites-table",
            "ALTER COLUMN … TYPE",
            "most changes of type rewrite the whole table and its indexes, while nobody can "
            "read or write it",
            "add a column of the new type, fill it in batches, and switch over",
        ),
        Rule(
            "not-null-scans-table",
            "SET NOT NULL",
            "the whole table is read while nobody can use it",
            "ADD CHECK (column IS NOT NULL) NOT VALID, then VALIDATE CONSTRAINT in another "
            "file, and only then SET NOT NULL",
        ),
        Rule(
            "constraint-scans-table",
            "ADD CONSTRAINT that is checked at once",
            "the whole table is read while nobody can write to it (nor, for a foreign key, to "
            "the table that it points to)",
            "add it NOT VALID, and VALIDATE CONSTRAINT in another file",
        ),
        Rule(
            "constraint-builds-index",
            "ADD UNIQUE, PRIMARY KEY or EXCLUDE",
            "its index is built while nobody can read or write the table",
            "CREATE UNIQUE INDEX CONCURRENTLY in a file of its own, then ADD CONSTRAINT … USING "
            "INDEX",
        ),
        Rule(
            "rewrites-table",
            "SET LOGGED, SET UNLOGGED, SET TABLESPACE, SET ACCESS METHOD, VACUUM FULL or CLUSTER",
            "the whole table is rewritten while nobody can read or write it",
            "do it in a maintenance window, or fill a new table in batches and switch over",
        ),
        Rule(
            "drops-column",
            "DROP COLUMN",
            "programs that still name the column fail, and its data is gone",
            "release the programs without it first",
        ),
        Rule(
            "drops-table",
            "DROP TABLE, DROP SCHEMA or TRUNCATE",
            "programs that still use it fail, and the data is gone",
            "release the programs without it first, and rename it some days before",
        ),
        Rule(
            "drops-dependents",
            "DROP or TRUNCATE … CASCADE",
            "whatever depends on it goes too, unseen: views, foreign keys, rows of other tables",
            "name what is to go, each by a statement of its own",
        ),
        Rule(
            "renames",
            "RENAME or SET SCHEMA of a table or schema, RENAME of a column",
            "programs that run know it by the old name, until they are released again",
            "a new column beside the old one, or a view under the old name",
        ),
        Rule(
            "touches-all-rows",
            "UPDATE or DELETE without WHERE",
            "every row is locked until the end, and each leaves a dead one behind",
            "do it in batches, in a program",
        ),
        Rule(
            "works-under-lock",
            "UPDATE, DELETE, INSERT … SELECT or VALIDATE CONSTRAINT after an ALTER TABLE",
            "nobody can use the altered table until the file's end, however long this takes",
            "give it a file of its own",
        ),
        Rule(
            "domain-scans-tables",
            "ALTER DOMAIN … ADD CONSTRAINT or SET NOT NULL, checked at once",
            "every table with a column of the domain is read while nobody can write to it",
            "add the constraint NOT VALID, and VALIDATE CONSTRAINT in another file",
        ),
        Rule(
            "json-cannot-be-compared",
            "ADD COLUMN of type json",
            "it has no equality: SELECT DISTINCT, GROUP BY and UNION over the table begin to fail",
            "use jsonb",
        ),
        Rule(
            "locks-table",
            "LOCK TABLE",
            "whoever wants what it forbids waits until the file's end",
            "leave it to the statements, which take the weakest lock that they need",
        ),
        Rule(
            "file-half-done",
            "a statement that cannot run in a transaction, beside others",
            "the file has no transaction: a failure leaves the statements before it done, and "
            "the database dirty",
            "give it a file of its own",
        ),
        Rule(
            "own-transaction",
            "BEGIN, COMMIT or ROLLBACK",
            "the file runs in a transaction already; one of its own parts what was done from "
            "what is recorded",
            "leave it out",
        ),
    )
}
