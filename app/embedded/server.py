"""One server from its start to its end: who owns it, who borrows it, and the thread that watches it."""

import fcntl
import io
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, final

from app.embedded.cluster import cure, ensure_cluster
from app.embedded.dumps import write_dump
from app.embedded.locks import POLL_SECONDS, lock, open_private
from app.embedded.postmaster import PORT, answers, command_line, dsn, read_postmaster, socket_path
from app.embedded.programs import FAST_SHUTDOWN, EmbeddedPostgresError, Identity, Programs, usable_programs
from app.embedded.role import has_role, make_role

logger = logging.getLogger("baton.postgres")
dump_logger = logging.getLogger("baton.dump")  # a command shows it, and not what the server does

# What was answered is on disk: fsync, full_page_writes and synchronous_commit stay as they come, on.
DEFAULT_SETTINGS: Final[Mapping[str, str]] = {
    "max_connections": "100",  # several workers with their pools, commands, and psql beside them
    "shared_buffers": "256MB",  # the hot tasks of a small machine; the usual 128MB evicts them
    "max_wal_size": "2GB",  # checkpoints go by the clock: a burst of writes brings none on itself
    "min_wal_size": "1GB",  # what was written once is kept to be written again: 16MB anew hold up commits for 50 ms
    "checkpoint_timeout": "15min",  # fewer whole pages in the WAL; recovery replays about 2GB at most
    "random_page_cost": "1.1",  # on solid state disks an index is nearly always right
    "jit": "off",  # statements take milliseconds, compiling one takes tenths of a second
    "max_parallel_workers_per_gather": "0",  # one request, one core; a container has little /dev/shm
    "idle_in_transaction_session_timeout": "60s",  # a stuck client doesn't keep its row locks for ever
    "timezone": "UTC",  # the host's time zone shows in no answer
    "log_timezone": "UTC",  # the log lines up with ours
    # Errors go to whoever sent the statement, and the service logs those that are none of its answers. Callers bring some
    # about as they like, so the server keeps none of them, nor the statement, nor what was in it: start and stop,
    # checkpoints, crashes and a full disk remain.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}

SOCKET_DIRS: Final = "/tmp/baton-"  # noqa: S108 - $TMPDIR may be long itself; each is made with a random name, for us alone
SOCKET_BYTES_MAX: Final = 100  # the kernel takes a path of 103 bytes on macOS, of 107 on Linux
PLAIN_PATH: Final = re.compile(r"[\w./+~-]+", re.ASCII)  # a comma or blank is syntax to libpq and to `-k`
LOG_TAIL_BYTES: Final = 8192  # in which the reason for a failure just now stands
LOG_BYTES_MAX: Final = 10_000_000  # a longer log is put aside, and the one before forgotten
LOG_LOOK_SECONDS: Final = 10.0  # between looks at its length

START_WAIT_SECONDS: Final = 30.0  # a start takes 1 s; the rest is for a command in the way, or recovery
RESTART_WAIT_SECONDS: Final = 120.0  # replaying 2GB of WAL from a slow disk
SHUTDOWN_SECONDS: Final = 30.0  # writing 256MB of buffers to a slow disk
QUIT_SECONDS: Final = 10.0  # after SIGQUIT Postgres itself kills its children within 5 s
BACKOFF_SECONDS: Final = 0.1  # the children of a killed server need a moment; doubled with each failure
BACKOFF_SECONDS_MAX: Final = 5.0  # for as long as the disk is full, which ends when somebody makes room
DISK_BYTES_MIN: Final = 16 * 1024 * 1024  # a segment of Postgres' log: it cannot begin another with less
STABLE_SECONDS: Final = 60.0  # a server that lived this long had started well: forget earlier failures
QUICK_FAILURES_MAX: Final = 5  # after that it isn't bad luck, and somebody must read the log


@final
class EmbeddedPostgres:
    """A private Postgres in one data directory, which one process at a time may own."""

    def __init__(
        self, data_dir: Path, bin_dir: Path | None = None, settings: Mapping[str, str] = DEFAULT_SETTINGS
    ) -> None:
        try:
            self.data_dir = data_dir.expanduser().resolve()
        except (
            OSError,
            RuntimeError,
        ) as error:  # no such home, no such directory to start from, links in a circle
            raise EmbeddedPostgresError(f"DATA_DIR={data_dir} is no directory: {error}") from error
        self.cluster = self.data_dir / "postgres"
        self.log = self.data_dir / "postgres.log"
        self._configured_bin_dir = bin_dir
        self._settings = settings
        self._owner: io.BufferedWriter | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread()
        # What the thread finds out in _prepare() and _launch().
        self._programs = Programs(Path(), Identity(os.geteuid(), os.getegid()), self.data_dir.parent)
        self._socket_dir = self.cluster
        self._server: subprocess.Popen[bytes] | None = None

    def exists(self) -> bool:
        """Whether there is a cluster in the directory, or one that an upgrade was about to put back."""
        return self.data_dir.is_dir() and any(self.data_dir.glob("postgres*/"))

    def start(self, *, wait_seconds: float = START_WAIT_SECONDS) -> str:
        """Own a running server until `stop()` and return its DSN; the first start creates the cluster."""
        deadline = time.monotonic() + wait_seconds
        if not self._own():
            logger.warning(
                "waiting for %s, which owns the Postgres in %s, to end; to run beside it, set another DATA_DIR",
                self._owner_name(),
                self.data_dir,
            )
            if not self._own(deadline):
                raise EmbeddedPostgresError(
                    f"Another Baton server is already running on {self.data_dir} ({self._owner_name()}). "
                    "Stop it, give this one another DATA_DIR, or set DATABASE_URL to share a Postgres."
                )
        return self._run(deadline)

    def stop(self, *, users_wait_seconds: float = 1.0) -> None:
        """Shut our server down, after a moment for the commands that borrow it; without one do nothing."""
        if self._owner is None:
            return
        # While we hold this nobody begins to borrow. Who takes too long is cut off: a stop is bounded.
        users = lock(self.data_dir / "users.lock", fcntl.LOCK_EX, time.monotonic() + users_wait_seconds)
        self._stopping.set()
        if self._server is not None:
            self._server.send_signal(FAST_SHUTDOWN)
        self._thread.join(SHUTDOWN_SECONDS)
        if self._thread.is_alive() and self._server is not None:
            logger.error("Postgres took longer than %.0f s to shut down, forcing it", SHUTDOWN_SECONDS)
            _force_down(self._server)
            self._thread.join(QUIT_SECONDS)
        self._remove_socket_dir()
        if users is not None:
            users.close()
        self._owner.close()
        self._owner = None

    @contextmanager
    def use(
        self, *, wait_seconds: float = START_WAIT_SECONDS, users_wait_seconds: float = 10.0
    ) -> Generator[str]:
        """Borrow the running server, or own one for the block, which others may borrow; yield its DSN."""
        deadline = time.monotonic() + wait_seconds
        while not self._own():
            users = lock(self.data_dir / "users.lock", fcntl.LOCK_SH)
            if users is not None:  # else the owner is about to stop
                with users:
                    running = read_postmaster(self.cluster)
                    if running is not None and running.status == "ready" and answers(running.socket_dir):
                        yield dsn(running.socket_dir)
                        return
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"The Postgres in {self.data_dir} does not answer; its owner is {self._owner_name()}. "
                    f"Read {self.log}, or stop that process and try again."
                )
            time.sleep(POLL_SECONDS)
        try:
            yield self._run(deadline)
        finally:
            self.stop(users_wait_seconds=users_wait_seconds)

    def programs(self) -> Programs:
        """The programs that fit the cluster, and who runs them."""
        return usable_programs(self._configured_bin_dir, self.cluster, time.monotonic() + START_WAIT_SECONDS)[
            0
        ]

    def dump(self, dsn: str) -> Path:
        """Write the data to a file beside the cluster, where only the newest few are kept."""
        written = write_dump(self.data_dir / "dumps", self.programs(), dsn)
        dump_logger.info("wrote the data to %s", written)
        return written

    def diagnosis(self, said: str) -> str:
        """What a client was told when it could not connect, what the log has about it, and what to do."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            tail = log.read().decode(errors="replace").splitlines()
        fatal = [line.strip() for line in reversed(tail) if "FATAL:" in line or "PANIC:" in line]
        for line in (said, *fatal):
            if remedy := cure(line):
                return f"{said} {'' if line is said else f'The log says: {line}. '}{remedy}"
        return f"{said} Read {self.log}."

    def _own(self, deadline: float = 0.0) -> bool:
        """Try to become the one owner, at least once and until the deadline."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = lock(self.data_dir / "owner.lock", fcntl.LOCK_EX, deadline)
            if owner is None:
                return False
            owner.truncate(0)
            owner.write(b"process %d" % os.getpid())
            owner.flush()
        except OSError as error:
            raise self._unusable(error) from error
        self._owner = owner
        return True

    def _owner_name(self) -> str:
        return (self.data_dir / "owner.lock").read_text(errors="replace").strip("\0\n ") or "another process"

    def _unusable(self, error: Exception) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(
            f"Baton cannot keep a Postgres in {self.data_dir}: {error}. "
            "Set DATA_DIR to a directory that it may write, or DATABASE_URL to a Postgres that you run."
        )

    def _run(self, deadline: float) -> str:
        """Start the server from a thread that stays to watch it.

        Linux sends the parent-death signal when the *thread* that forked ends, so that one must live as long.
        """
        started: Future[str] = Future()
        self._stopping.clear()
        self._server = None
        self._socket_dir = self.cluster
        self._thread = threading.Thread(
            target=self._supervise, args=(started, deadline), name="postgres", daemon=True
        )
        self._thread.start()
        try:
            return started.result()
        except BaseException:  # also Ctrl-C while we wait: leave no server that nobody knows of
            self.stop()
            raise

    def _supervise(self, started: Future[str], deadline: float) -> None:
        """The thread: start the server, and start it again whenever it ends unasked."""
        try:
            self._prepare(deadline)
            server = self._launch(deadline)
        except EmbeddedPostgresError as error:
            started.set_exception(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, _run() waits for it
            started.set_exception(self._unusable(error))
            return
        started.set_result(dsn(str(self._socket_dir)))
        threading.Thread(target=self._bound_log, name="postgres-log", daemon=True).start()
        quick_failures = 0
        while True:
            began = time.monotonic()
            status = server.wait()
            lived_seconds = time.monotonic() - began
            if self._stopping.is_set():
                return
            quick_failures = 1 if lived_seconds > STABLE_SECONDS else quick_failures + 1
            reason = self._full_disk()
            if quick_failures > QUICK_FAILURES_MAX and not reason:
                logger.critical("Postgres failed %d times in a row, giving up: %s", quick_failures, self.log)
                return
            told = f"Postgres ended (status {status}) after {lived_seconds:.1f} s, restarting it. {reason}"
            logger.error("%s", told.rstrip())
            if self._stopping.wait(min(BACKOFF_SECONDS * 2.0 ** (quick_failures - 1), BACKOFF_SECONDS_MAX)):
                return
            try:
                server = self._launch(time.monotonic() + RESTART_WAIT_SECONDS)
            except (EmbeddedPostgresError, OSError, subprocess.SubprocessError) as error:
                logger.error("%s", error)  # noqa: TRY400 - the next round sees the old server, ended again

    def _bound_log(self) -> None:
        """The thread beside it: put a log aside that has become too long, for as long as the server is ours."""
        while not self._stopping.wait(LOG_LOOK_SECONDS):
            put_aside(self.log)

    def _full_disk(self) -> str:
        """What to say when the disk has no room for the server; it may have had none for its log either."""
        free_bytes = shutil.disk_usage(self.data_dir).free
        if free_bytes >= DISK_BYTES_MIN:
            return ""
        return f"There is no space left on the disk of {self.data_dir} ({free_bytes} bytes): make room, and it goes on by itself."

    def _prepare(self, deadline: float) -> None:
        """Find the binaries, somebody who can run them, and a cluster that fits them."""
        self._programs, major = usable_programs(self._configured_bin_dir, self.cluster, deadline)
        ensure_cluster(self.cluster, self._programs, major, deadline)
        if not has_role(self.cluster):  # made by 0.1.0, whose service was the superuser
            deadline = max(deadline, time.monotonic() + RESTART_WAIT_SECONDS)  # it may have to recover first
            self._end_orphan(deadline)
            logger.info("giving the database in %s to a role of its own", self.cluster)
            make_role(self.cluster, self._programs, deadline)
        self._remove_socket_dir()
        path = socket_path(str(self.cluster))
        if len(os.fsencode(path)) > SOCKET_BYTES_MAX or not PLAIN_PATH.fullmatch(path):
            # Borrowers read in postmaster.pid where it is.
            self._socket_dir = Path(f"{SOCKET_DIRS}{secrets.token_hex(4)}")
            (self.data_dir / "socket").symlink_to(self._socket_dir)  # first: what is made can be found again
            self._socket_dir.mkdir(mode=0o700)
            self._programs.give(self._socket_dir)

    def _remove_socket_dir(self) -> None:
        """Remove the socket's directory where it is not the cluster: ours, or that of an owner who was killed."""
        link = self.data_dir / "socket"
        if not link.is_symlink():
            return
        directory = link.readlink()
        try:
            if str(directory).startswith(SOCKET_DIRS) and directory.is_dir() and not directory.is_symlink():
                for left in (socket_path(str(directory)), socket_path(str(directory)) + ".lock"):
                    Path(left).unlink(missing_ok=True)
                directory.rmdir()
            link.unlink()
        except OSError as error:
            logger.warning("cannot remove %s, where a socket was: %s", directory, error)

    def _launch(self, deadline: float) -> subprocess.Popen[bytes]:
        """Start the server and return when it takes queries."""
        while True:
            self._end_orphan(deadline)
            put_aside(self.log)
            with open_private(self.log) as log:
                log_bytes = log.tell()
                server = self._server = self._fork(log)
            while server.poll() is None:
                running = read_postmaster(self.cluster)
                if running is not None and running.pid == server.pid and running.status == "ready":
                    logger.info("Postgres is ready (process %d) in %s", server.pid, self.cluster)
                    return server
                if self._stopping.is_set() or time.monotonic() > deadline:
                    _force_down(server)
                    raise EmbeddedPostgresError(f"Postgres was not ready in time. Read {self.log}.")
                time.sleep(POLL_SECONDS)
            said = self.log.read_bytes()[log_bytes:].decode(errors="replace").strip()
            # Children of a server that was killed leave at the latest when their statement ends: wait for it.
            if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
                status = server.returncode
                remedy = self._full_disk() or cure(said)
                raise EmbeddedPostgresError(
                    f"Postgres did not start (status {status}), {self.log} says: {said} {remedy}".rstrip()
                )
            self._stopping.wait(BACKOFF_SECONDS)

    def _fork(self, log: io.BufferedWriter) -> subprocess.Popen[bytes]:
        settings = {**self._settings, "unix_socket_permissions": "0700"}
        where = ["-D", self.cluster, "-k", self._socket_dir, "-p", str(PORT), "-h", ""]
        return self._programs.start(
            log, "postgres", *where, *(f"--{name}={value}" for name, value in settings.items())
        )

    def _end_orphan(self, deadline: float) -> None:
        """Stop a server of this cluster that outlived its owner, and clear away what a killed one left."""
        left = read_postmaster(self.cluster)
        if left is not None:
            ours = f"postgres -D {self.cluster} "
            if ours in command_line(left.pid):
                logger.warning("stopping Postgres (process %d), which outlived its owner", left.pid)
                with suppress(ProcessLookupError):
                    os.kill(left.pid, FAST_SHUTDOWN)
            while ours in command_line(left.pid):
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(f"An old Postgres, process {left.pid}, goes on. Stop it.")
                time.sleep(POLL_SECONDS)
        # Another process may have that number by now (in a container after each restart), or the file may be torn, and
        # for its sake Postgres would not start. It finds living children of the old server by their memory, not by this.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        for directory in {str(self.cluster), left.socket_dir if left is not None else ""} - {""}:
            Path(socket_path(directory) + ".lock").unlink(missing_ok=True)


def put_aside(log: Path) -> None:
    """Empty a log that is too long, and keep what was in it beside it. Whoever writes to it appends, and so goes on."""
    try:
        if log.stat().st_size <= LOG_BYTES_MAX:
            return
        aside = Path(f"{log}.1")
        aside.unlink(missing_ok=True)  # first, so that the disk needs room for one of the two only
        with open_private(aside) as copy, log.open("rb") as written:
            shutil.copyfileobj(written, copy)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("cannot keep a copy of %s, which is too long: %s", log, error)
    os.truncate(log, 0)


def _force_down(server: subprocess.Popen[bytes]) -> None:
    """End a server without a checkpoint: nothing committed is lost, the next start recovers it."""
    server.send_signal(signal.SIGQUIT)
    try:
        server.wait(QUIT_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
