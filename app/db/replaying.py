"""A script of pg_restore, carried out on a database: all of it or nothing.

pg_restore could do so itself, and does not on a server that is older than it: it begins with settings that the server does
not know, and takes that for a failure. Here those that the server does not know are left out.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import psycopg
from psycopg import errors as pg_errors

from app.db import schema

_COPY: Final = b"COPY "
_END: Final = b"\\.\n"
_SET: Final = b"SET "
_CHUNK_BYTES: Final = 1 << 18
_FOR_PSQL: Final = b"\\"  # \restrict and the like: they tell psql what not to do

ReplayFailed = pg_errors.Error


def replay(dsn: str, script: Iterable[bytes], tell: Callable[[str], None]) -> None:
    """Carry out a script, line by line; `tell` hears which table is being filled. Raises what the server said of it."""
    lines = iter(script)
    with schema.connect(dsn) as connection, connection.transaction():
        known = {name for (name,) in connection.execute("SELECT name FROM pg_settings")}
        said: list[bytes] = []
        for line in lines:
            if line.startswith(_COPY):
                _execute(connection, said)
                tell(line[len(_COPY) :].partition(b" (")[0].decode())
                with connection.cursor().copy(line.removesuffix(b";\n")) as copy:
                    for rows in _rows(lines):
                        copy.write(rows)
            elif not line.startswith(_FOR_PSQL) and not _is_unknown(line, known):
                said.append(line)
        _execute(connection, said)


def _rows(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The rows of one table, many at a time, up to the line that ends them."""
    gathered, size = list[bytes](), 0
    for line in lines:
        if line == _END:
            break
        gathered.append(line)
        size += len(line)
        if size >= _CHUNK_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def _is_unknown(line: bytes, known: set[str]) -> bool:
    name = line[len(_SET) :].partition(b" ")[0].decode(errors="replace")
    return line.startswith(_SET) and line.endswith(b";\n") and b" = " in line and name not in known


def _execute(connection: psycopg.Connection, said: list[bytes]) -> None:
    if text := b"".join(said).strip():
        connection.execute(text)
    said.clear()
