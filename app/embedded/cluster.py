"""The cluster: the files of a server, made once, and served only by the version of Postgres that made them."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from app.embedded.programs import EmbeddedPostgresError, Programs

BUILTIN_LOCALE_MAJOR: Final = 17  # the first with a C.UTF-8 of its own


def ensure_cluster(cluster: Path, programs: Programs, major: int, deadline: float) -> None:
    """See that there is a cluster that these programs can serve."""
    if not (cluster / "PG_VERSION").exists():
        _create(cluster, programs, major, deadline)
    made_by = (cluster / "PG_VERSION").read_text().strip()
    if made_by != str(major):
        raise EmbeddedPostgresError(
            f"The cluster in {cluster} was made by Postgres {made_by}, but the binaries in "
            f"{programs.bin_dir} are Postgres {major}. Set POSTGRES_BIN to the bin directory of a Postgres "
            f"{made_by}, or dump the data with that one and restore it into a new DATA_DIR."
        )


def _create(cluster: Path, programs: Programs, major: int, deadline: float) -> None:
    """Let initdb work in a sibling and rename that: half a cluster never bears the name of a whole."""
    data_dir = cluster.parent
    for leftover in data_dir.glob("postgres.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if {entry.name for entry in data_dir.iterdir()} <= {"owner.lock", "users.lock", "postgres.log"}:
        programs.give(data_dir)  # it holds nothing but ours, and `nobody` must get through it
    fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=data_dir))
    programs.give(fresh)
    # Trust is safe: who reaches the socket owns the files. The builtin locale sorts alike on every host.
    builtin = "--locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"
    locale = builtin if major >= BUILTIN_LOCALE_MAJOR else "--locale=C.UTF-8"
    options = f"-U postgres -E UTF8 --auth-local=trust --auth-host=reject {locale}".split()
    programs.run(deadline, "initdb", "-D", str(fresh), *options)
    fresh.rename(cluster)
    directory = os.open(data_dir, os.O_RDONLY)
    os.fsync(directory)  # or a power cut could undo the rename after rows were committed
    os.close(directory)
