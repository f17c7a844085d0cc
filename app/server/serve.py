"""Serving: from settings to a listening server, with everything started and stopped in order.

One worker runs in this process. More than one are processes of their own that share the listening socket;
this process then only watches them. Either way the embedded Postgres, if there is one, belongs to this
process: it starts before the first worker and stops after the last.
"""

import asyncio
import ctypes
import gc
import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Final, TypeAlias

import uvicorn
from uvicorn.supervisors import Multiprocess

from app import database_url, logs
from app.config import BadSetting, Config, from_environment
from app.db import schema
from app.db.database import SHARED
from app.embedded import DEFAULT_SETTINGS
from app.server.crowd import Limits
from app.server.main import Application, create_app
from app.server.protocol import Door

DRAIN_SECONDS_MAX: Final = 10  # how long calls under way may take to finish after SIGTERM
FILES_SPARE: Final = 100  # for the database, the log, modules, and connections that are being dropped
CONNECTIONS_SPARE: Final = 30  # for commands, which take nine each, for psql, and for Postgres itself
BACKLOG: Final = 2048  # connections the kernel holds while we are busy
GARBAGE_YOUNG_MAX: Final = (
    10_000  # new objects before the collector looks at them; a call leaves almost no cycles
)
GARBAGE_ROUNDS: Final = 10  # as Python has it

PR_SET_PDEATHSIG: Final = 1

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
        listener = stack.enter_context(_bind(config))  # first: nothing has happened yet if that fails
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
        _say(f"Baton listens on {url}")
        if config.workers == 1:
            app = create_app(config, dsn)
            _forget_garbage()
            uvicorn.Server(_uvicorn_config(config, app, door)).run(sockets=[listener])
        else:
            os.environ["DATABASE_URL"] = dsn  # the workers are fresh interpreters: this is how they learn it
            _Supervisor(
                _uvicorn_config(config, "app.server.serve:worker_app", door), sockets=[listener]
            ).run()


def _open_standard_descriptors() -> None:
    """See that 0, 1 and 2 are open, as after `serve 2>&-` they are not: a connection would get the number of a stream."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= logs.STDERR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it has no name for it
    os.close(descriptor)


class _Supervisor(Multiprocess):
    def terminate_all(self) -> None:
        """Refuse new calls at once: ours is the last copy of the listening socket when the workers drain."""
        super().terminate_all()
        for listener in self.sockets:
            listener.close()


def worker_app() -> Application:
    """The application of a worker process, which must not outlive the one that watches it."""
    if sys.platform == "linux":
        parent = multiprocessing.parent_process()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if parent is not None and os.getppid() != parent.pid:
            raise SystemExit(1)  # it died before that was set
    config = from_environment()
    logs.configure(config.log_level, config.log_format)
    app = create_app(config, config.database_url)
    _forget_garbage()
    return app


def _tell_of_pending(state: schema.State) -> None:
    if state.pending:
        log.warning(
            "schema version %d is prepared; once no server of the release before runs any more, run `%s --post`",
            state.prepared,
            schema.APPLY,
        )


def _forget_garbage() -> None:
    """Spare the garbage collector what stays for good: modules, operations, schemas.

    It would walk through all of that again and again, and no call moves on in the 70 milliseconds that takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_YOUNG_MAX, GARBAGE_ROUNDS, GARBAGE_ROUNDS)


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


def _uvicorn_config(config: Config, app: Application | str, door: Door) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
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


def _bind(config: Config) -> socket.socket:
    """A socket at the configured address, which does not take connections yet."""
    listener = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.set_inheritable(True)
    try:
        listener.bind((config.host, config.port))
    except OSError as e:
        listener.close()
        raise BadSetting(
            f"Cannot listen on {config.host}, port {config.port}: {e.strerror}. Set HOST or PORT to something else."
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
