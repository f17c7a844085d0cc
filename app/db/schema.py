"""The schema of a database: applied once to an empty one, checked on every start."""

from pathlib import Path
from typing import Final

import psycopg
from psycopg import errors as pg_errors

from app.db.address import Unreachable, address

FILE: Final = Path(__file__).parent.parent.parent / "schema.sql"
VERSION: Final = 1  # what schema.sql writes into baton_schema; a test keeps the two equal
CONNECT_TIMEOUT_SECONDS: Final = 5
OLDEST_SERVER: Final = 150_000  # PostgreSQL 15, the oldest our SQL was tried on
NEEDS: Final = (
    "Baton needs a database of its own, the right to create tables in it, and the extensions pg_trgm and btree_gin "
    "(an administrator can create them beforehand)."
)
LOCK: Final = 4_242_001  # advisory lock under which one of several starting processes applies the schema


class SchemaMismatch(Exception):
    """The database holds a schema that this version cannot serve; the message says what to do."""


class Unsuitable(Exception):
    """The database cannot hold the schema; the message says what it lacks."""


def apply(dsn: str) -> bool:
    """Apply schema.sql if the database is empty. True if it was; SchemaMismatch if it holds another version."""
    with _connect(dsn) as connection:  # one transaction: all of the schema or none of it
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        if _version(connection) is None:
            try:
                connection.execute(FILE.read_bytes())
            except (
                pg_errors.InsufficientPrivilege,
                pg_errors.FeatureNotSupported,
                pg_errors.DuplicateTable,
            ) as e:
                raise Unsuitable(f"The schema cannot be applied: {e} {NEEDS}") from None
            return True
        _check(connection)
        return False


def check(dsn: str) -> int:
    """The version of the database's schema; SchemaMismatch if it is not the one this code serves."""
    with _connect(dsn) as connection:
        return _check(connection)


def _connect(dsn: str) -> psycopg.Connection:
    try:
        connection = psycopg.connect(address(dsn), connect_timeout=CONNECT_TIMEOUT_SECONDS)
    except psycopg.OperationalError as e:
        raise Unreachable(str(e)) from None
    if connection.info.server_version < OLDEST_SERVER:
        connection.close()
        raise Unsuitable("The database server is too old. Baton needs PostgreSQL 15 or newer.")
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        connection.close()
        raise Unsuitable(f"The database is encoded as {encoding}. Make one with ENCODING 'UTF8'.")
    return connection


def _check(connection: psycopg.Connection) -> int:
    version = _version(connection)
    if version is None:
        message = "The database has no schema yet. Run `python -m app schema apply`."
        raise SchemaMismatch(message)
    if version != VERSION:
        message = (
            f"The database has schema version {version}, this Baton serves version {VERSION}. "
            "Run the Baton that fits it, or use another database."
        )
        raise SchemaMismatch(message)
    return version


def _version(connection: psycopg.Connection) -> int | None:
    row = connection.execute("SELECT to_regclass('baton_schema') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    row = connection.execute("SELECT version FROM baton_schema").fetchone()
    return row[0] if row else None
