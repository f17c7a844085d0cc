"""Serving: from settings to a listening server, with everything started and stopped in order.

One worker runs in this process. More than one are processes of their own that share the listening socket;
this process then only watches them. Either way the embedded Postgres, if there is one, belongs to this
process: it starts before the first worker and stops after the last.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple, TypeAlias

import uvicorn
from uvicorn.supervisors import Multiprocess

from app import database_url, logs
from app.config import BadSetting, Config
from app.db import schema
from app.db.database import SHARED
from app.embedded import DEFAULT_SETTINGS
from app.server.crowd import Limits
from app.server.main import Application
from app.server.metrics import page
from app.server.process import application, shape
from app.server.protocol import Door
from app.server.worker import Worker
from app.tally import Board
from app.transports.gate import Names

DRAIN_SECONDS_MAX: Final = 10  # how long calls under way may take to finish after SIGTERM
FILES_SPARE: Final = 100  # for the database, the log, modules, and connections that are being dropped
CONNECTIONS_SPARE: Final = 30  # for commands, which take nine each, for psql, and for Postgres itself
BACKLOG: Final = 2048  # connections the kernel holds while we are busy
JOIN_SECONDS: Final = 0.1  # how soon a second signal is passed on
PLACES_SPARE: Final = 2  # on the board of numbers, besides two for each worker

Welcome: TypeAlias = Callable[[str], str]
"""What to tell whoever started the service, once it is known at which address it listens; nothing if it is empty."""

log = logging.getLogger("baton.serve")


def serve(config: Config, prepare: Callable[[Config, str], Coroutine[None, None, Welcome]]) -> None:
    """Run the service until SIGINT or SIGTERM. `prepare` is given the database before anybody may call."""
    _open_standard_descriptors()
    logs.configure(config.log_level, config.log_format)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _exit)  # until the server takes them over, and after it gives them back
    with ExitStack() as stack:
        listener = stack.enter_context(_bind(config.host, config.port, "HOST", "PORT"))
        metrics = _metrics(config, stack)  # both first: nothing has happened yet if that fails
        door = Door(_limits(config, _open_files()))
        found = stack.enter_context(database_url.owned(config, _postgres_settings(config)))
        dsn = found.dsn
        if found.is_ours:
            schema.apply(dsn, before=found.dump)  # nothing older works on it
        _tell_of_pending(schema.ready(dsn))
        welcome = asyncio.run(prepare(config, dsn))
        listener.listen(BACKLOG)
        url = _url(listener)
        if told := welcome(url):
            _say(told)
        if metrics is not None:
            stack.enter_context(metrics.served(config, dsn))
            _say(f"Metrics are on {_url(metrics.listener)}/metrics")
        _say(f"Baton listens on {url}")
        board = None if metrics is None else metrics.board
        if config.workers == 1:
            app = application(config, dsn, door, board)
            uvicorn.Server(_uvicorn_config(config, app, door)).run(sockets=[listener])
        else:
            os.environ["DATABASE_URL"] = dsn  # the workers are fresh interpreters: this is how they learn it
            _Supervisor(_uvicorn_config(config, Worker(door, board), door), sockets=[listener]).run()


class _Metrics(NamedTuple):
    """Where metrics are served, and where the workers show theirs."""

    listener: socket.socket
    board: Board

    @contextmanager
    def served(self, config: Config, dsn: str) -> Generator[None]:
        """Serve them for as long as the block is open."""
        self.listener.listen(BACKLOG)
        names = Names(config.metrics_host, config.allowed_host_names)
        with page.answering(self.listener, shape(), self.board, dsn, names):
            yield


def _metrics(config: Config, stack: ExitStack) -> _Metrics | None:
    if config.metrics_port is None:
        return None
    listener = stack.enter_context(
        _bind(config.metrics_host, config.metrics_port, "METRICS_HOST", "METRICS_PORT")
    )
    # While workers are replaced there are more of them.
    return _Metrics(listener, Board(shape().size, 2 * config.workers + PLACES_SPARE))


def _open_standard_descriptors() -> None:
    """See that 0, 1 and 2 are open, as after `serve 2>&-` they are not: a connection would get the number of a stream."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= logs.STDERR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it has no name for it
    os.close(descriptor)


class _Supervisor(Multiprocess):
    def join_all(self) -> None:
        """Wait for the workers. A second signal is for them: it ends what they wait for."""
        while living := [process for process in self.processes if process.process.is_alive()]:
            if self.signal_queue:
                self.signal_queue.clear()
                for process in living:
                    process.process.terminate()
            living[0].process.join(JOIN_SECONDS)

    def terminate_all(self) -> None:
        """Refuse new calls at once: ours is the last copy of the listening socket when the workers drain."""
        super().terminate_all()
        for listener in self.sockets:
            listener.close()


def _tell_of_pending(state: schema.State) -> None:
    if state.pending:
        log.warning(
            "schema version %d is prepared; once no server of the release before runs any more, run `%s --post`",
            state.prepared,
            schema.APPLY,
        )


def _open_files() -> int:
    """How many files may be open at once, connections included: as many as this process may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return _number(soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as e:  # some systems promise more than they give
        log.warning("the limit of open files stays at %d, as it cannot be raised to %d: %s", soft, hard, e)
        return _number(soft)
    log.info("the limit of open files is raised from %d to %d", soft, hard)
    return _number(hard)


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _limits(config: Config, open_files: int) -> Limits:
    """What callers may do, with no more of them than there can be files."""
    usual = Limits()
    ours = FILES_SPARE + config.database_connections + SHARED
    return usual._replace(
        keep_alive_seconds=config.keep_alive_seconds,
        connections_max=min(config.connections_max, max(open_files - ours, open_files // 4)),
    )


def _uvicorn_config(config: Config, app: Application | Worker, door: Door) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, Worker),
        loop="uvloop",
        http=door,  # pyright: ignore[reportArgumentType] -- called as uvicorn calls the class it expects here
        ws="none",
        lifespan="on",
        workers=config.workers,
        log_config=None,
        access_log=False,  # we write our own line
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client is or which scheme it used
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )


def _postgres_settings(config: Config) -> dict[str, str]:
    """As they come, with room for the connections of every worker."""
    per_worker = config.database_connections + SHARED
    usual = int(DEFAULT_SETTINGS["max_connections"])
    return {
        **DEFAULT_SETTINGS,
        "max_connections": str(max(usual, config.workers * per_worker + CONNECTIONS_SPARE)),
    }


def _bind(host: str, port: int, host_setting: str, port_setting: str) -> socket.socket:
    """A socket at an address that two settings say. It does not take connections yet."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.set_inheritable(True)
    try:
        listener.bind((host, port))
    except OSError as e:
        listener.close()
        raise BadSetting(
            f"Cannot listen on {host}, port {port}: {e.strerror}. Set {host_setting} or {port_setting} to something else."
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _say(text: str) -> None:
    """Print for whoever started us, who may have gone away."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        logs.hang_up(sys.stdout.fileno())


def _exit(signal_number: int, frame: object) -> None:
    raise SystemExit(0)
