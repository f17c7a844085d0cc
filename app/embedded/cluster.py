"""The cluster: the files of a server, made once, and served only by the version of Postgres that made them."""

import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from app import COMMAND
from app.embedded.programs import HALF, EmbeddedPostgresError, Programs, holds_only_ours
from app.embedded.role import make_role

logger = logging.getLogger("baton.postgres")

BUILTIN_LOCALE_MAJOR: Final = 17  # the first with a C.UTF-8 of its own
UPGRADE: Final = f"{COMMAND} postgres upgrade"
VERSION: Final = re.compile(r"[1-9]\d", re.ASCII)
ENTRY: Final = "# Who reaches the socket owns the files.\nlocal all all trust\n"
DAMAGED: Final = (
    "A file of the database itself is damaged (global/pg_control, or what is named), as after a power cut on a disk that "
    "had not written what it said it had: "
    "move the data directory away and restore a backup into a new one (README.md, Backups)."
)
CURES: Final = tuple(
    (re.compile(words), cure)
    for words, cure in (
        (
            "No space left on device|Disk quota exceeded",
            "The disk is full: make room and start again.",
        ),
        (
            r"postgresql\.auto\.conf",
            "It holds what ALTER SYSTEM has set, and nothing of ours: mend it, or empty it.",
        ),
        (r"postgresql\.conf", "Baton gives the server every setting it needs: mend that file, or empty it."),
        (r"pg_hba\.conf", f"Mend it, or let it hold this line alone: {ENTRY.splitlines()[-1]}"),
        (
            r"control file|pg_control|PG_CONTROL_VERSION|checkpoint|WAL|relation mapping file|pg_xact|pg_multixact|global/|base/",
            DAMAGED,
        ),
    )
)


def ensure_cluster(cluster: Path, programs: Programs, major: int, deadline: float) -> None:
    """See that there is a cluster that these programs can serve."""
    if not cluster.exists() and (cluster.parent / "upgrade" / "checked").exists():
        raise EmbeddedPostgresError(
            f"Moving {cluster} to Postgres {major} was cut off at its end. Run `{UPGRADE}` once more."
        )
    if not cluster.exists() or not any(cluster.iterdir()):
        _create(cluster, programs, major, deadline)
    made_by = version_of(cluster, programs)
    if made_by is None:
        file = cluster / "PG_VERSION"
        raise EmbeddedPostgresError(
            f"{file} is empty or torn, as a power cut leaves a file, and no copy of it is left. If Postgres {major} made "
            f"this cluster, write that number into it (echo {major} > {file}); if not, restore a backup into a new DATA_DIR."
        )
    if made_by != str(major):
        raise EmbeddedPostgresError(
            f"The cluster in {cluster} was made by Postgres {made_by}, but the binaries in "
            f"{programs.bin_dir} are Postgres {major}. Run `{UPGRADE}`, which moves the data, or "
            f"set POSTGRES_BIN to the bin directory of a Postgres {made_by}."
        )
    _ensure_entry(cluster, programs)


def cure(said: str) -> str:
    """What to do about what a server said when it would not start or take a connection; empty if that isn't known."""
    return next((cure for words, cure in CURES if words.search(said)), "")


def version_of(cluster: Path, programs: Programs) -> str | None:
    """The major version that made a cluster, which stands in a file of its own and in one of each database.

    Where some were torn the others say what they held, and they are written again. None if no copy is left.
    """
    files = [cluster / "PG_VERSION", *cluster.glob("base/*/PG_VERSION")]
    found = {file: file.read_text(errors="replace").strip() if file.exists() else "" for file in files}
    versions = {text for text in found.values() if VERSION.fullmatch(text)}
    if len(versions) != 1:
        return None
    [version] = versions
    for file, text in found.items():
        if text != version:
            logger.warning("%s is torn, and written again: %s", file, version)
            file.write_text(f"{version}\n")
            programs.give(file)
    return version


def _ensure_entry(cluster: Path, programs: Programs) -> None:
    """See that there is a rule by which to enter. Without any nobody could, and the server would start all the same."""
    file = cluster / "pg_hba.conf"
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    if not any(line.strip("\0 \t") and not line.lstrip().startswith("#") for line in lines):
        logger.warning("%s has no rule, and is written again", file)
        file.write_text(ENTRY)
        file.chmod(0o600)
        programs.give(file)


def _create(cluster: Path, programs: Programs, major: int, deadline: float) -> None:
    """Let initdb work in a sibling and rename that: half a cluster never bears the name of a whole."""
    data_dir = cluster.parent
    for leftover in data_dir.glob(f"{HALF}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if holds_only_ours(data_dir):
        programs.give(data_dir)  # `nobody` must get through it
    fresh = Path(tempfile.mkdtemp(prefix=HALF, dir=data_dir))
    programs.give(fresh)
    # Trust is safe: who reaches the socket owns the files. The builtin locale sorts alike on every host.
    builtin = "--locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"
    locale = builtin if major >= BUILTIN_LOCALE_MAJOR else "--locale=C.UTF-8"
    options = f"-U postgres -E UTF8 --auth-local=trust --auth-host=reject {locale}".split()
    programs.run(deadline, "initdb", "-D", str(fresh), *options)
    make_role(fresh, programs, deadline)
    fresh.rename(cluster)
    directory = os.open(data_dir, os.O_RDONLY)
    os.fsync(directory)  # or a power cut could undo the rename after rows were committed
    os.close(directory)
