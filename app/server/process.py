"""One process that serves, whether it is the one that was started or a worker of it."""

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from typing import Final

from app import logs
from app.config import Config, from_environment
from app.jobs import JOBS
from app.operations import OPERATIONS
from app.server.main import Application, create_app
from app.server.protocol import Door
from app.tally import Board, Shape, Tally

GARBAGE_YOUNG_MAX: Final = (
    10_000  # new objects before the collector looks at them; a call leaves almost no cycles
)
GARBAGE_ROUNDS: Final = 10  # as Python has it

PR_SET_PDEATHSIG: Final = 1


def application(config: Config, dsn: str, door: Door, board: Board | None) -> Application:
    """The application of this process, whose callers come in at this door. With a board it counts what happens."""
    tally = None if board is None else Tally(shape(), board)
    app = create_app(config, dsn, tally, lambda: door.connections)
    _forget_garbage()
    return app


def shape() -> Shape:
    """What is counted, in every process alike."""
    return Shape((op.name for op in OPERATIONS), (job.name for job in JOBS))


def worker_application(door: Door, board: Board | None) -> Application:
    """The application of a worker process, which must not outlive the one that watches it."""
    if sys.platform == "linux":
        parent = multiprocessing.parent_process()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if parent is not None and os.getppid() != parent.pid:
            raise SystemExit(1)  # it died before that was set
    config = from_environment()
    logs.configure(config.log_level, config.log_format)
    return application(config, config.database_url, door, board)


def _forget_garbage() -> None:
    """Spare the garbage collector what stays for good: modules, operations, schemas.

    It would walk through all of that again and again, and no call moves on in the 70 milliseconds that takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_YOUNG_MAX, GARBAGE_ROUNDS, GARBAGE_ROUNDS)
