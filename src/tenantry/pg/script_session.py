"""The connection that a script is loaded over, by libpq alone: it sends statements unchanged."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import pq

from tenantry.pg.scripts import Script, Statement

FOREIGN_KEY_VIOLATION = b"23503"
_SEARCH_PATH = b"SELECT pg_catalog.current_setting('search_path')"
_SCHEMAS = b"""
    SELECT pg_catalog.string_agg(pg_catalog.quote_ident(nspname), ', ' ORDER BY nspname)
    FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""
_ERROR, _SQLSTATE = pq.DiagnosticField.MESSAGE_PRIMARY, pq.DiagnosticField.SQLSTATE


class Failed(Exception):
    """The server rejects a statement. ``code`` is its SQLSTATE, ``said`` its message.

    ``has_data`` if the data of a COPY is still to be read; ``domain`` is the one (its schema, its
    name) that a value violates.
    """

    def __init__(
        self,
        statement: Statement,
        said: str,
        code: bytes | None,
        *,
        has_data: bool = False,
        domain: tuple[bytes, bytes] | None = None,
    ) -> None:
        super().__init__(f"line {statement.line}: {said}")
        self.said = said
        self.code = code
        self.has_data = has_data
        self.domain = domain


class Session:
    """A connection to the server, which runs one statement after the other."""

    def __init__(self) -> None:
        self._server = pq.PGconn.connect(b"")
        if self._server.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(self._server.get_error_message())

    def setting(self, name: str) -> bytes:
        return self._server.parameter_status(name.encode()) or b""

    @property
    def version(self) -> int:
        return self._server.server_version

    @property
    def is_in_transaction(self) -> bool:
        return self._server.transaction_status != pq.TransactionStatus.IDLE

    def do(self, statements: list[Statement], script: Script) -> None:
        """Run statements, a COPY alone among them. Raises Failed, Refused."""
        self._server.send_query(b"\n".join(each.text for each in statements))
        # The results are discarded: row by row they take no memory.
        self._server.set_single_row_mode()
        done, failure = 0, None
        has_data = statements[0].verb == b"COPY"
        while (result := self._server.get_result()) is not None:
            match result.status:
                case pq.ExecStatus.COPY_IN:
                    has_data = False
                    for piece in script.data():
                        self._server.put_copy_data(piece)
                    self._server.put_copy_end()
                case pq.ExecStatus.COPY_OUT:
                    while self._server.get_copy_data(0)[0] > 0:
                        pass
                case pq.ExecStatus.FATAL_ERROR | pq.ExecStatus.BAD_RESPONSE:
                    where = statements[min(done, len(statements) - 1)]
                    failure = failure or _failure(where, result, has_data=has_data)
                case pq.ExecStatus.SINGLE_TUPLE:
                    pass
                case _:
                    done += 1
        if failure is not None:
            raise failure

    def rows(self, query: bytes) -> list[list[bytes]]:
        """Return the result of one of our queries, in the script's encoding. Raises Failed."""
        result = self._server.exec_(query)
        if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
            raise _failure(Statement(query, 0), result)
        return [
            [result.get_value(row, column) or b"" for column in range(result.nfields)]
            for row in range(result.ntuples)
        ]

    def look(self, query: bytes) -> list[list[bytes]]:
        """Return the result of a query on the catalogs, with names of pg_catalog. Raises Failed.

        The search path is otherwise empty, so that names in definitions are qualified.
        """
        with self._path(b"pg_catalog"):
            return self.rows(query)

    @contextmanager
    def all_schemas(self) -> Iterator[None]:
        """In the block, add all schemas to the end of the search path.

        The database that the script was dumped from may have had a path that is not in the script.
        """
        [[path]] = self.rows(_SEARCH_PATH)
        [[schemas]] = self.rows(_SCHEMAS)
        with self._path(b", ".join(filter(None, (path, schemas)))):
            yield

    @contextmanager
    def _path(self, path: bytes) -> Iterator[None]:
        [[before]] = self.rows(_SEARCH_PATH)
        self._set_path(path)
        try:
            yield
        finally:
            self._set_path(before)

    def _set_path(self, path: bytes) -> None:
        literal = path.replace(b"'", b"''")
        self.rows(b"SELECT pg_catalog.set_config('search_path', '%s', false)" % literal)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Within a transaction, roll back only the block if something in it fails."""
        if not self.is_in_transaction:
            yield
            return
        self.rows(b"SAVEPOINT tenantry")
        try:
            yield
        except Failed:
            self.rows(b"ROLLBACK TO SAVEPOINT tenantry")
            raise
        finally:
            self.rows(b"RELEASE SAVEPOINT tenantry")


def _failure(statement: Statement, result: pq.abc.PGresult, *, has_data: bool = False) -> Failed:
    said = result.error_field(_ERROR) or result.error_message
    name = result.error_field(pq.DiagnosticField.DATATYPE_NAME)
    schema = result.error_field(pq.DiagnosticField.SCHEMA_NAME)
    return Failed(
        statement,
        said.decode(errors="replace"),
        result.error_field(_SQLSTATE),
        has_data=has_data,
        domain=(schema, name) if schema and name else None,
    )
