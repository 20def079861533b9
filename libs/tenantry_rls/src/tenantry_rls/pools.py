"""An application's connection and pool size, from its environment.

The names and defaults are those that Go's ``database/sql`` made usual (``MaxOpenConns`` and so on),
and the ``DB_…`` variables of twelve-factor applications.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tenantry_rls.context import TenantError

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
HIGHEST_PORT = 65_535


class InvalidSettings(TenantError, ValueError):
    """A variable with an invalid value; the message names it."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """The settings of one process's pool. Times are in seconds.

    Without an environment: 25 connections, 5 of them kept when idle.
    """

    max_open_conns: int = 25
    max_idle_conns: int = 5
    conn_max_lifetime: float = 300.0
    conn_max_idle_time: float = 600.0
    connection_timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.max_open_conns < 1:
            raise InvalidSettings("max_open_conns must be at least 1.")
        if not 0 <= self.max_idle_conns <= self.max_open_conns:
            raise InvalidSettings("max_idle_conns must be from 0 to max_open_conns.")
        if min(self.conn_max_lifetime, self.conn_max_idle_time, self.connection_timeout) <= 0:
            raise InvalidSettings("The pool's times must be more than 0 seconds.")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "PoolSettings":
        """Read ``DB_POOL_MAX`` (50), ``DB_POOL_IDLE_TIMEOUT``, ``DB_POOL_CONNECTION_TIMEOUT``.

        The two times are in milliseconds there (600000 and 30000). Raises InvalidSettings.
        """
        most = _whole(environ, "DB_POOL_MAX", 50)
        return cls(
            max_open_conns=most,
            max_idle_conns=min(cls().max_idle_conns, most),
            conn_max_idle_time=_whole(environ, "DB_POOL_IDLE_TIMEOUT", 600_000) / 1000,
            connection_timeout=_whole(environ, "DB_POOL_CONNECTION_TIMEOUT", 30_000) / 1000,
        )

    def for_psycopg(self) -> dict[str, Any]:
        """Return the arguments of ``psycopg_pool.ConnectionPool`` and its asynchronous one."""
        return {
            "min_size": self.max_idle_conns,
            "max_size": self.max_open_conns,
            "max_lifetime": self.conn_max_lifetime,
            "max_idle": self.conn_max_idle_time,
            "timeout": self.connection_timeout,
        }

    def for_asyncpg(self) -> dict[str, Any]:
        """Return the arguments of ``asyncpg.create_pool``, whose only lifetime is an idle one."""
        return {
            "min_size": self.max_idle_conns,
            "max_size": self.max_open_conns,
            "max_inactive_connection_lifetime": self.conn_max_idle_time,
            "timeout": self.connection_timeout,
        }

    def for_sqlalchemy(self) -> dict[str, Any]:
        """Return the arguments of ``create_engine``, whose pool has a fixed size and overflow."""
        kept = max(1, self.max_idle_conns)  # 0 would mean no limit
        return {
            "pool_size": kept,
            "max_overflow": self.max_open_conns - kept,
            "pool_recycle": int(self.conn_max_lifetime),
            "pool_timeout": self.connection_timeout,
        }


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The database's address and the login; the password is not shown."""

    host: str
    dbname: str
    user: str
    password: str = field(default="", repr=False)
    port: int = 5432
    sslmode: str = "require"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "ConnectionSettings":
        """Read the database's address and the login from ``DB_…`` variables.

        ``DB_HOST``, ``DB_PORT``, ``DB_NAME``, ``DB_USER``, ``DB_PASSWORD`` and ``DB_SSL_MODE``,
        which may also be named ``DB_SSLMODE``. Raises InvalidSettings.
        """
        kind = environ.get("DB_TYPE") or "postgresql"
        if kind != "postgresql":
            raise InvalidSettings(f"DB_TYPE is {kind!r}; only postgresql is known here.")
        modes = {environ[name] for name in ("DB_SSL_MODE", "DB_SSLMODE") if environ.get(name)}
        if len(modes) > 1:
            raise InvalidSettings("DB_SSL_MODE and DB_SSLMODE differ; set one of them.")
        sslmode = next(iter(modes), "require")
        if sslmode not in SSL_MODES:
            raise InvalidSettings(f"DB_SSL_MODE must be one of {', '.join(SSL_MODES)}.")
        port = _whole(environ, "DB_PORT", 5432)
        if port > HIGHEST_PORT:
            raise InvalidSettings(f"DB_PORT must be at most {HIGHEST_PORT}.")
        return cls(
            host=_needed(environ, "DB_HOST"),
            dbname=_needed(environ, "DB_NAME"),
            user=_needed(environ, "DB_USER"),
            password=environ.get("DB_PASSWORD", ""),
            port=port,
            sslmode=sslmode,
        )

    def for_libpq(self) -> dict[str, Any]:
        """Return the keyword arguments of ``psycopg.connect``."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.dbname,
            "user": self.user,
            "password": self.password,
            "sslmode": self.sslmode,
        }

    def for_asyncpg(self) -> dict[str, Any]:
        """Return the keyword arguments of ``asyncpg.connect``, and of ``create_pool``."""
        return {
            "host": self.host,
            "port": self.port,
            "database": self.dbname,
            "user": self.user,
            "password": self.password,
            "ssl": self.sslmode,
        }

    def for_sqlalchemy(self, driver: Literal["psycopg", "asyncpg"] = "psycopg") -> dict[str, Any]:
        """Return the keyword arguments of ``sqlalchemy.URL.create``."""
        return {
            "drivername": f"postgresql+{driver}",
            "host": self.host,
            "port": self.port,
            "database": self.dbname,
            "username": self.user,
            "password": self.password,
            "query": {"sslmode" if driver == "psycopg" else "ssl": self.sslmode},
        }


def _needed(environ: Mapping[str, str], name: str) -> str:
    if value := environ.get(name, "").strip():
        return value
    raise InvalidSettings(f"{name} is not set.")


def _whole(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    # int() alone would take "1_0" and other scripts' digits.
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise InvalidSettings(f"{name} is {text!r}; it must be a whole number above 0.")
    return int(text)
