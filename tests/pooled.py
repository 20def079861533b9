"""Pooled clients that never stop asking, to see what they notice."""

import contextlib
import threading
import time
from collections.abc import Iterator

import psycopg

from clients import login


class Pooled(threading.Thread):
    """A pooled client that never stops asking."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.done, self.failed = url, 0, list[str]()
        self._over = threading.Event()

    def run(self) -> None:
        try:
            with contextlib.closing(login(self.url)) as session:
                while not self._over.is_set():
                    with session.transaction():
                        session.execute("SELECT 1")
                        session.execute("SELECT pg_sleep(0.002)")
                    self.done += 1
        except psycopg.Error as error:
            self.failed.append(str(error))

    def stop(self) -> None:
        self._over.set()
        self.join()


@contextlib.contextmanager
def pooled_clients(url: str, count: int = 4) -> Iterator[list[Pooled]]:
    clients = [Pooled(url) for _ in range(count)]
    for each in clients:
        each.start()
    try:
        yield clients
    finally:
        for each in clients:
            each.stop()


def stand_still(clients: list[Pooled]) -> bool:
    """Whether no client gets anything done for a second."""
    before = [each.done for each in clients]
    time.sleep(1)
    return before == [each.done for each in clients]
