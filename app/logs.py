"""Log lines: one canonical line per request, and the rest through `logging`.

The request line is built by hand and written with its neighbours in one go, because `logging` costs as much as
decoding the request. It names who called what and how it went; it never holds a key, a body or a task's text.
"""

import asyncio
import logging
import os
from functools import lru_cache
from typing import Final, Protocol

import msgspec

from app.clock import timestamp

WRITE_INTERVAL_SECONDS: Final = 0.05  # lines wait this long for company
PATHS_REMEMBERED_MAX: Final = 256  # more than there are operations
STDERR: Final = 2

LEVELS: Final = ("debug", "info", "warning", "error")
REQUESTS_AT: Final = frozenset({"debug", "info"})
"""The levels at which each request has its line."""

log = logging.getLogger("baton.log")


class Who(Protocol):
    """Who called."""

    @property
    def handle(self) -> str:
        """Their handle."""
        ...

    @property
    def key_prefix(self) -> str:
        """What everybody may see of their key."""
        ...


class Trace(Protocol):
    """Of which trace a request is part."""

    @property
    def id(self) -> str:
        """The trace."""
        ...

    @property
    def span(self) -> str:
        """Where in it the request was made."""
        ...


class Answered(Protocol):
    """A request that is over."""

    @property
    def method(self) -> str:
        """Its verb."""
        ...

    @property
    def what(self) -> str:
        """What was called."""
        ...

    @property
    def status(self) -> int:
        """The status of the answer."""
        ...

    @property
    def body_bytes(self) -> int:
        """The size of the answer, without its head."""
        ...

    @property
    def request_id(self) -> str:
        """How the caller knows it."""
        ...

    @property
    def actor(self) -> Who | None:
        """Who called; None if nobody knows."""
        ...

    @property
    def code(self) -> str | None:
        """The code of the error it was answered with."""
        ...

    @property
    def trace(self) -> Trace | None:
        """The trace it says to be part of."""
        ...


class RequestLog:
    """Gathers request lines and writes them together."""

    def __init__(self, *, level: str, as_json: bool) -> None:
        self.level = level
        self._as_json = as_json
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0
        self._why_lost: str | None = None

    def add(self, done: Answered, seconds: float) -> None:
        """Note one finished request."""
        if self.level not in REQUESTS_AT:
            return
        self._lines.append(self._line(done, seconds * 1000))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_INTERVAL_SECONDS, self.write)

    def write(self) -> None:
        """Write what has gathered."""
        self._timer = None
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            _write_all(STDERR, "".join(lines).encode("utf-8", "backslashreplace"))
        except BrokenPipeError:
            hang_up(STDERR)
        except OSError as e:  # the disk that holds the log is full, say: the service goes on
            self._lost += len(lines)
            self._why_lost = e.strerror
        else:
            if self._lost:
                log.warning("%d log lines could not be written: %s", self._lost, self._why_lost)
            self._lost = 0

    def _line(self, done: Answered, ms: float) -> str:
        now, path, actor, code, trace = (
            timestamp().decode(),
            done.what[:200],
            done.actor,
            done.code,
            done.trace,
        )
        if self._as_json:
            by = f'"{actor.handle}","key":"{actor.key_prefix}"' if actor else 'null,"key":null'
            error = f',"error":"{code}"' if code else ""
            part_of = f',"trace":"{trace.id}","span":"{trace.span}"' if trace else ""
            return (
                f'{{"time":"{now}","status":{done.status},"method":"{done.method}","path":{_quoted(path)},"ms":{ms:.2f},'
                f'"bytes":{done.body_bytes},"actor":{by},"request":"{done.request_id}"{error}{part_of}}}\n'
            )
        shown = path if _plain(path) and " " not in path else msgspec.json.encode(path).decode()
        by = f"{actor.handle} key={actor.key_prefix}" if actor else "- key=-"
        error = f" error={code}" if code else ""
        part_of = f" trace={trace.id} span={trace.span}" if trace else ""
        return (
            f"{now} {done.status} {done.method} {shown} {ms:.1f}ms {done.body_bytes}B by={by} request={done.request_id}"
            f"{error}{part_of}\n"
        )


@lru_cache(PATHS_REMEMBERED_MAX)
def _quoted(path: str) -> str:
    return f'"{path}"' if _plain(path) else msgspec.json.encode(path).decode()


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def hang_up(descriptor: int) -> None:
    """Stop writing to a pipe whose reader has gone, as of `serve 2>&1 | head -1`: what comes goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": timestamp().decode(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def show_progress() -> None:
    """Show an operator, on stderr, how far a command that takes its time has come."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for slow in ("baton.schema", "baton.dump", "baton.export", "baton.delete"):
        logging.getLogger(slow).addHandler(handler)
        logging.getLogger(slow).setLevel(logging.INFO)


def configure(level: str, log_format: str) -> None:
    """Set up `logging` for a process that serves. Called by the command line, never on import."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonFormatter()
        if log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("psycopg.pool", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
