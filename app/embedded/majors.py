"""Moving the data to another major version of Postgres, whose files are laid out differently.

The old cluster is only read. A dump of it goes into a new one beside it, what is in both is compared, and then they change
places. The old one stays, as `postgres-15`, until somebody says that it may go.

    DATA_DIR/upgrade         the new one, until it takes the old one's place
    DATA_DIR/upgrade/checked says that all is in it
"""

import fcntl
import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from app.embedded.cluster import version_of
from app.embedded.dumps import SECONDS_MAX, sync
from app.embedded.locks import lock
from app.embedded.programs import EmbeddedPostgresError, usable_programs
from app.embedded.role import SUPERUSER
from app.embedded.server import EmbeddedPostgres

logger = logging.getLogger("baton.dump")

DEBIAN: Final = Path("/usr/lib/postgresql")
OLD: Final = re.compile(r"postgres-\d\d")
WAIT_SECONDS: Final = 60.0  # for a server to start; an old one may have to recover first


class Moved(NamedTuple):
    """What became of the data."""

    old_major: int
    major: int
    kept: Path  # the old cluster
    dump: Path


def move(
    data_dir: Path, bin_dir: Path | None, old_bin_dir: Path | None, look: Callable[[str], object]
) -> Moved | None:
    """Move the data to the Postgres in `bin_dir`; None if that made it. `look` says what is in a database."""
    data_dir = data_dir.expanduser().resolve()
    cluster, beside = data_dir / "postgres", data_dir / "upgrade"
    if not cluster.exists() and (beside / "checked").exists():  # we were cut off at the very end
        return _settle(cluster, beside)
    if not (cluster / "PG_VERSION").exists():
        raise EmbeddedPostgresError(f"There is no cluster in {data_dir}.")
    deadline = time.monotonic() + SECONDS_MAX
    programs, major = usable_programs(bin_dir, cluster, deadline)
    made_by = version_of(cluster, programs)
    if made_by == str(major):
        return None
    old_bin_dir = old_bin_dir or DEBIAN / str(made_by) / "bin"
    if not (old_bin_dir / "postgres").exists():
        raise EmbeddedPostgresError(
            f"The data was made by Postgres {made_by}, whose programs are needed once more, and there are none in {old_bin_dir}. "
            "Install them beside the new ones, and say where they are with --old-bin."
        )
    old_programs, old_major = usable_programs(old_bin_dir, cluster, deadline)
    if made_by != str(old_major):
        raise EmbeddedPostgresError(f"{old_bin_dir} has Postgres {old_major}, but {made_by} made the data.")
    kept = data_dir / f"postgres-{old_major}"
    if kept.exists():
        raise EmbeddedPostgresError(f"There is a {kept} already. Move it away, or discard it, first.")

    dump, before = _read(data_dir, bin_dir, old_bin_dir, look)
    told = re.search(r"NextXID:\s*(\d+):", old_programs.run(deadline, "pg_controldata", str(cluster)))
    epoch = int(told[1]) + 1 if told is not None else 1
    logger.info("restoring it into Postgres %d", major)
    if _write(beside, bin_dir, dump, epoch, look) != before:
        raise EmbeddedPostgresError(
            f"What is in {beside} now is not what is in {cluster}, which goes on as before."
        )
    (beside / "checked").write_text(f"{old_major} {major} {dump.name}")
    sync(beside)
    cluster.rename(kept)
    sync(data_dir)
    return _settle(cluster, beside)


def _read(
    data_dir: Path, bin_dir: Path | None, old_bin_dir: Path, look: Callable[[str], object]
) -> tuple[Path, object]:
    """Dump the old cluster, and look at it, while nobody can write."""
    old = EmbeddedPostgres(data_dir, old_bin_dir)
    dsn = old.start(wait_seconds=WAIT_SECONDS)
    users = lock(data_dir / "users.lock", fcntl.LOCK_EX, time.monotonic() + WAIT_SECONDS)
    try:
        if users is None:
            raise EmbeddedPostgresError(f"A command still works on {data_dir}. Wait for it, and try again.")
        return EmbeddedPostgres(data_dir, bin_dir).dump(dsn), look(dsn)
    finally:
        if users is not None:
            users.close()
        old.stop()


def _write(
    beside: Path, bin_dir: Path | None, dump: Path, epoch: int, look: Callable[[str], object]
) -> object:
    """Make a new cluster, restore the dump into it, and look at that."""
    shutil.rmtree(beside, ignore_errors=True)
    new = EmbeddedPostgres(beside, bin_dir)
    new.start(wait_seconds=WAIT_SECONDS)
    new.stop()
    deadline = time.monotonic() + SECONDS_MAX
    programs, _ = usable_programs(bin_dir, beside / "postgres", deadline)
    # Transactions count on from those of the old cluster, so that rows which remember theirs stay in order.
    programs.run(deadline, "pg_resetwal", "-e", str(epoch), "-D", str(beside / "postgres"))
    dsn = new.start(wait_seconds=WAIT_SECONDS)
    try:
        target = f"--dbname={dsn} user={SUPERUSER}"
        programs.run(deadline, "pg_restore", "--exit-on-error", target, str(dump))
        programs.run(deadline, "vacuumdb", "--analyze-only", target)
        return look(dsn)
    finally:
        new.stop()


def _settle(cluster: Path, beside: Path) -> Moved:
    """Put the new cluster where the old one was."""
    old_major, major, dump = (beside / "checked").read_text().split()
    (beside / "postgres").rename(cluster)
    sync(cluster.parent)
    shutil.rmtree(beside)
    data_dir = cluster.parent
    return Moved(int(old_major), int(major), data_dir / f"postgres-{old_major}", data_dir / "dumps" / dump)


def old_clusters(data_dir: Path) -> list[Path]:
    """The clusters that were kept, the newest first."""
    found = data_dir.expanduser().resolve().glob("postgres-*")
    return sorted((path for path in found if OLD.fullmatch(path.name)), reverse=True)


def discard_old(data_dir: Path) -> None:
    """Delete them, if there is one in their place."""
    found = old_clusters(data_dir)
    if found and not (found[0].parent / "postgres").exists():
        raise EmbeddedPostgresError(
            f"There is no cluster in {found[0].parent} but {found[0].name}, so that one stays."
        )
    for cluster in found:
        shutil.rmtree(cluster)
