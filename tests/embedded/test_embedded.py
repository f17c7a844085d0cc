"""The embedded Postgres: one owner, any number of borrowers, and nothing left behind by any kind of death."""

import fcntl
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from app import embedded
from app.embedded import ROLE, SUPERUSER, EmbeddedPostgres, EmbeddedPostgresError, programs, server
from app.embedded.role import DATABASE, MARK

ROOT = Path(embedded.__file__).parents[2]
SETTINGS = {"shared_buffers": "16MB", "max_connections": "20"}  # a small server; there are many of them here
WAIT_SECONDS = 20.0  # for what takes milliseconds; a busy machine needs some patience

OWNER = """
import sys
from pathlib import Path
from app import embedded
{before}
print(embedded.EmbeddedPostgres(Path(sys.argv[1]), settings={settings}).start(), flush=True)
sys.stdin.read()
"""

USER = """
import sys
from pathlib import Path
import psycopg
from app.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), Path(sys.argv[2]), settings={settings}).use() as dsn:
    with psycopg.connect(dsn) as connection:
        print(connection.execute("SELECT 41 + 1").fetchone()[0], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of all tests that don't care how the cluster came about: initdb takes longer than they."""
    data_dir = tmp_path_factory.mktemp("shared") / "data"
    yield data_dir
    shutil.rmtree(data_dir, ignore_errors=True)  # pytest would keep its 40 MB for a while


@pytest.fixture
def new_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory that doesn't exist yet."""
    yield tmp_path / "data"
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What a test starts is stopped, also when it fails."""
    with ExitStack() as stack:
        yield stack


def started(stack: ExitStack, data_dir: Path, bin_dir: Path | None = None) -> tuple[EmbeddedPostgres, str]:
    postgres = EmbeddedPostgres(data_dir, bin_dir, SETTINGS)
    stack.callback(postgres.stop)
    return postgres, postgres.start()


def spawned(stack: ExitStack, code: str, *arguments: Path) -> subprocess.Popen[str]:
    """Run a piece of Python in a process of its own, which ends when its stdin does."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def eventually(look: Callable[[], object]) -> None:
    """Look again and again until there is something true to see."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def answer(dsn: str, statement: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
        return row[0] if row else None


def answers(dsn: str) -> bool:
    try:
        return answer(dsn, "SELECT true") is True
    except psycopg.OperationalError:
        return False


def remember(dsn: str, words: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS memory")
        connection.execute("CREATE TABLE memory (words text)")
        connection.execute("INSERT INTO memory VALUES (%s)", [words])


def remembered(dsn: str) -> object:
    return answer(dsn, "SELECT words FROM memory")


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def gone(pid: int) -> bool:
    """No such process, or none that runs: an orphan's remains may wait for an init that doesn't collect them."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    proc = Path(f"/proc/{pid}/stat")
    return proc.exists() and proc.read_text().rpartition(")")[2].split()[0] == "Z"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def fake_binaries(directory: Path, initdb: str) -> Path:
    """A bin directory with the real Postgres, but an initdb of the test's own."""
    real = embedded.find_binaries()
    directory.mkdir(parents=True)
    (directory / "postgres").symlink_to(real / "postgres")
    (directory / "initdb").write_text(f"#!/bin/sh\nreal={real}/initdb\n{initdb}\n")
    (directory / "initdb").chmod(0o755)
    return directory


# --- a server and its files


def test_data_survives_a_restart(new_dir: Path, stack: ExitStack) -> None:
    postgres, dsn = started(stack, new_dir)
    remember(dsn, "kept")
    pid = postmaster_pid(new_dir)
    postgres.stop()
    assert gone(pid)
    assert remembered(postgres.start()) == "kept"  # in a long path the socket stands elsewhere each time


def test_commits_are_durable_and_nothing_listens_on_tcp(data_dir: Path, stack: ExitStack) -> None:
    _, dsn = started(stack, data_dir)
    shown = {
        name: answer(dsn, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")
    }
    assert set(shown.values()) == {"on"}
    assert answer(dsn, "SHOW listen_addresses") == ""
    assert answer(dsn, "SHOW max_connections") == SETTINGS["max_connections"]
    assert answer(dsn, "SHOW server_encoding") == "UTF8"


def test_the_default_settings_are_all_accepted(data_dir: Path, stack: ExitStack) -> None:
    postgres = EmbeddedPostgres(data_dir)
    stack.callback(postgres.stop)
    dsn = postgres.start()
    assert {name: answer(dsn, f"SHOW {name}") for name in embedded.DEFAULT_SETTINGS} == {
        **embedded.DEFAULT_SETTINGS,
        "idle_in_transaction_session_timeout": "1min",
    }


def test_everything_is_private_and_owned_by_the_user(new_dir: Path, stack: ExitStack) -> None:
    _, dsn = started(stack, new_dir)
    remember(dsn, "private")
    assert mode_of(new_dir) == mode_of(new_dir / "postgres") == 0o700
    for path in (new_dir, *new_dir.rglob("*")):
        assert path.lstat().st_uid == os.geteuid(), path
        assert mode_of(path) & 0o077 == 0, path


def test_permissions_of_an_existing_directory_stay(new_dir: Path, stack: ExitStack) -> None:
    new_dir.mkdir()
    new_dir.chmod(0o750)
    started(stack, new_dir)
    assert mode_of(new_dir) == 0o750


@pytest.mark.parametrize("name", ["a" * 90, "with a blank, a comma and 'quotes'"])
def test_any_new_directory_works(name: str, new_dir: Path, stack: ExitStack) -> None:
    data_dir = new_dir / name
    postgres, dsn = started(stack, data_dir)
    socket_dir = Path(dsn.split()[0].removeprefix("host="))
    assert mode_of(socket_dir) == 0o700
    assert answers(dsn)
    with EmbeddedPostgres(data_dir).use() as borrowed:
        assert borrowed == dsn
    postgres.stop()
    assert not socket_dir.exists()


def test_a_long_log_is_put_aside(new_dir: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    new_dir.mkdir()
    (new_dir / "postgres.log").write_text("old " * 10)
    monkeypatch.setattr(server, "LOG_BYTES_MAX", 10)
    postgres, _ = started(stack, new_dir)
    assert (new_dir / "postgres.log.1").read_text() == "old " * 10
    assert "old" not in postgres.log.read_text()


# --- creating the cluster


@pytest.mark.parametrize("death", ["kill -9 $$", "echo 'no room'; exit 1"])
def test_a_failed_initdb_leaves_no_cluster(
    death: str, new_dir: Path, tmp_path: Path, stack: ExitStack
) -> None:
    half = fake_binaries(tmp_path / "bin", f'echo 18 > "$2/PG_VERSION"; mkdir "$2/base"; {death}')
    with pytest.raises(EmbeddedPostgresError, match=r"initdb.*failed"):
        EmbeddedPostgres(new_dir, half).start()
    assert not (new_dir / "postgres").exists()
    _, dsn = started(stack, new_dir)
    assert answers(dsn)
    assert not list(new_dir.glob("postgres.new-*"))


def test_an_owner_killed_during_initdb_leaves_no_cluster(
    new_dir: Path, tmp_path: Path, stack: ExitStack
) -> None:
    slow = fake_binaries(tmp_path / "bin", f'"$real" "$@"; touch {tmp_path}/made; exec sleep {WAIT_SECONDS}')
    user = spawned(stack, USER.format(settings=SETTINGS), new_dir, slow)
    eventually((tmp_path / "made").exists)
    user.kill()
    user.wait()
    assert not (new_dir / "postgres").exists()
    _, dsn = started(stack, new_dir)
    assert answers(dsn)


def test_simultaneous_starts_make_one_cluster(new_dir: Path, tmp_path: Path, stack: ExitStack) -> None:
    counting = fake_binaries(tmp_path / "bin", f'echo once >> {tmp_path}/count; exec "$real" "$@"')
    users = [spawned(stack, USER.format(settings=SETTINGS), new_dir, counting) for _ in range(3)]
    assert [line_of(user) for user in users] == ["42", "42", "42"]
    assert (tmp_path / "count").read_text() == "once\n"
    for user in users:  # all at once: the one that owns the server waits for the others
        assert user.stdin is not None
        user.stdin.close()
    assert [user.wait(WAIT_SECONDS) for user in users] == [0, 0, 0]


def test_a_cluster_of_another_version_is_refused(new_dir: Path) -> None:
    (new_dir / "postgres").mkdir(parents=True)
    (new_dir / "postgres" / "PG_VERSION").write_text("14\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"made by Postgres 14, .* are Postgres \d\d\. .*set POSTGRES_BIN"
    ):
        EmbeddedPostgres(new_dir).start()


def test_a_bad_setting_is_reported_in_the_words_of_postgres(data_dir: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres(data_dir, settings={"no_such_setting": "1"}).start()


def test_missing_binaries_are_explained(new_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"no Postgres in .*Install .*POSTGRES_BIN.*DATABASE_URL"):
        EmbeddedPostgres(new_dir, tmp_path / "nowhere").start()


def test_an_unusable_data_directory_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="Set DATA_DIR"):
        EmbeddedPostgres(tmp_path / "file").start()


# --- one owner


def test_a_second_server_is_refused(data_dir: Path, stack: ExitStack) -> None:
    started(stack, data_dir)
    with pytest.raises(EmbeddedPostgresError, match=f"already running on .*process {os.getpid()}"):
        EmbeddedPostgres(data_dir).start(wait_seconds=0.05)


def test_a_server_waits_for_a_command_to_finish(data_dir: Path, stack: ExitStack) -> None:
    with EmbeddedPostgres(data_dir, settings=SETTINGS).use():
        postgres = EmbeddedPostgres(data_dir, settings=SETTINGS)
        stack.callback(postgres.stop)
        dsns: list[str] = []
        starting = threading.Thread(target=lambda: dsns.append(postgres.start()))
        starting.start()
        starting.join(0.05)
        assert starting.is_alive()
    starting.join(WAIT_SECONDS)
    assert answers(dsns[0])


def test_a_command_borrows_the_running_server(data_dir: Path, stack: ExitStack) -> None:
    _, dsn = started(stack, data_dir)
    with EmbeddedPostgres(data_dir).use() as borrowed:
        assert borrowed == dsn
    assert answers(dsn)


def test_a_command_alone_starts_and_stops_its_own(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, settings=SETTINGS).use() as dsn:
        assert answers(dsn)
        pid = postmaster_pid(data_dir)
    assert gone(pid)


def test_a_command_that_owns_waits_for_one_that_borrows(data_dir: Path, stack: ExitStack) -> None:
    owner, borrower = ExitStack(), stack.enter_context(ExitStack())
    dsn = owner.enter_context(EmbeddedPostgres(data_dir, settings=SETTINGS).use())
    borrower.enter_context(EmbeddedPostgres(data_dir).use())
    leaving = threading.Thread(target=owner.close)
    leaving.start()
    leaving.join(0.1)
    assert leaving.is_alive()
    assert answers(dsn)
    borrower.close()
    leaving.join(WAIT_SECONDS)
    assert not answers(dsn)


def test_a_stop_waits_for_users_only_so_long(data_dir: Path, stack: ExitStack) -> None:
    postgres, dsn = started(stack, data_dir)
    with EmbeddedPostgres(data_dir).use():
        postgres.stop(users_wait_seconds=0.05)
        assert not answers(dsn)


def test_the_server_inherits_no_lock(data_dir: Path, stack: ExitStack) -> None:
    started(stack, data_dir)
    descriptors = Path(f"/proc/{postmaster_pid(data_dir)}/fd")
    if not descriptors.exists():
        pytest.skip("there is no /proc here")
    assert not [link for link in descriptors.iterdir() if link.readlink().suffix == ".lock"]


# --- sudden deaths


def test_nothing_outlives_a_killed_owner(data_dir: Path, stack: ExitStack) -> None:
    owner = spawned(stack, OWNER.format(before="", settings=SETTINGS), data_dir)
    remember(line_of(owner), "kept")
    pid = postmaster_pid(data_dir)
    owner.kill()
    owner.wait()
    if sys.platform == "linux":
        eventually(lambda: gone(pid))
    _, dsn = started(stack, data_dir)
    assert remembered(dsn) == "kept"


def test_a_server_that_outlived_its_owner_is_replaced(data_dir: Path, stack: ExitStack) -> None:
    deaf = "embedded.programs.PR_SET_PDEATHSIG = 0"  # as on systems without it
    owner = spawned(stack, OWNER.format(before=deaf, settings=SETTINGS), data_dir)
    remember(line_of(owner), "kept")
    orphan = postmaster_pid(data_dir)
    owner.kill()
    owner.wait()
    assert not gone(orphan)
    _, dsn = started(stack, data_dir)
    assert gone(orphan)
    assert remembered(dsn) == "kept"


def test_a_pid_that_went_to_another_process_does_not_matter(data_dir: Path, stack: ExitStack) -> None:
    postgres, _ = started(stack, data_dir)
    postgres.stop()
    other = stack.enter_context(subprocess.Popen(["sleep", str(WAIT_SECONDS)]))
    stack.callback(other.kill)
    cluster = data_dir / "postgres"
    left = f"{other.pid}\n{cluster}\n1700000000\n5432\n{cluster}\n\n  12345  6\nready   \n"
    (cluster / "postmaster.pid").write_text(left)
    (cluster / ".s.PGSQL.5432.lock").write_text(left)
    assert answers(postgres.start())
    assert other.poll() is None


def test_a_killed_server_is_started_again(data_dir: Path, stack: ExitStack) -> None:
    _, dsn = started(stack, data_dir)
    remember(dsn, "kept")
    pid = postmaster_pid(data_dir)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid) and answers(dsn))
    assert postmaster_pid(data_dir) != pid
    assert remembered(dsn) == "kept"


def test_children_of_a_killed_server_are_waited_for(data_dir: Path, stack: ExitStack) -> None:
    postgres, dsn = started(stack, data_dir)
    busy = psycopg.connect(dsn, autocommit=True)
    stack.callback(busy.close)
    busy.pgconn.send_query(
        b"DO $$ DECLARE until timestamptz := clock_timestamp() + interval '0.7 s';"
        b"BEGIN WHILE clock_timestamp() < until LOOP END LOOP; END $$"
    )
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO%' AND state = 'active'"
    eventually(lambda: answer(dsn, running) == 1)
    pid = postmaster_pid(data_dir)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid) and answers(dsn))
    assert "pre-existing shared memory block" in postgres.log.read_text()


def test_restarts_are_bounded(
    data_dir: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "QUICK_FAILURES_MAX", 1)
    _, dsn = started(stack, data_dir)
    first = postmaster_pid(data_dir)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: gone(first) and answers(dsn))
    os.kill(postmaster_pid(data_dir), signal.SIGKILL)
    eventually(lambda: [record for record in caplog.records if record.levelno == logging.CRITICAL])
    assert not answers(dsn)


def test_a_server_is_not_restarted_after_a_stop(data_dir: Path, stack: ExitStack) -> None:
    postgres, dsn = started(stack, data_dir)
    os.kill(postmaster_pid(data_dir), signal.SIGKILL)
    postgres.stop()
    assert not answers(dsn)
    with (data_dir / "owner.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- root

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@needs_root
def test_root_without_namespaces_becomes_nobody(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
    home.chmod(0o711)  # pytest's own directories let nobody through
    monkeypatch.setattr(programs, "CLONE_NEWUSER", 1)  # the kernel refuses this one
    try:
        subprocess.run([embedded.find_binaries() / "postgres", "--version"], user="nobody", check=True)
    except PermissionError:
        pytest.skip("`nobody` cannot reach the binaries here")
    postgres, dsn = started(stack, home / "data")
    assert answers(dsn)
    assert (home / "data" / "postgres").owner() == "nobody"
    postgres.stop()
    monkeypatch.undo()
    assert answers(postgres.start()), "and it stays nobody's when namespaces come back"


@needs_root
def test_root_that_can_become_nobody_else_is_told(new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "CLONE_NEWUSER", 1)
    with pytest.raises(EmbeddedPostgresError, match=r"root in a user namespace.*ordinary user.*DATABASE_URL"):
        EmbeddedPostgres(new_dir).start()
    assert new_dir.stat().st_uid == 0, "and nothing was given away"


@needs_root
def test_the_server_of_root_is_nobodys_where_nobody_can_reach_it(stack: ExitStack) -> None:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
    home.chmod(0o711)
    try:
        subprocess.run([embedded.find_binaries() / "postgres", "--version"], user="nobody", check=True)
    except PermissionError:
        pytest.skip("`nobody` cannot reach the binaries here")
    _, dsn = started(stack, home / "data")
    assert answers(dsn)
    assert Path(f"/proc/{postmaster_pid(home / 'data')}").owner() == "nobody"


# --- who serves


def test_the_service_is_an_ordinary_role_that_owns_its_database(data_dir: Path, stack: ExitStack) -> None:
    _, dsn = started(stack, data_dir)
    assert answer(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    assert answer(
        dsn, "SELECT pg_get_userbyid(datdba) = current_user FROM pg_database WHERE datname = 'postgres'"
    )
    for forbidden in (
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SELECT pg_read_file('PG_VERSION')",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER SYSTEM SET fsync = off",
        "CREATE ROLE another",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            answer(dsn, forbidden)


def test_a_data_directory_whose_service_was_the_superuser_is_changed_over(
    new_dir: Path, stack: ExitStack
) -> None:
    """As 0.1.0 left one: everything in it is the superuser's, and there is no other role."""
    postgres, dsn = started(stack, new_dir)
    before = make_conninfo(dsn, user=SUPERUSER)
    with psycopg.connect(before, autocommit=True) as connection:
        for statement in (
            f"ALTER DATABASE {DATABASE} OWNER TO {SUPERUSER}",
            f"DROP ROLE {ROLE}",
            "CREATE EXTENSION pg_trgm",
            "CREATE TABLE notes (id int GENERATED ALWAYS AS IDENTITY, words text, at timestamptz)",
            "CREATE INDEX notes_words ON notes USING gin (words gin_trgm_ops)",
            "CREATE SEQUENCE numbers",
            "CREATE TYPE mood AS ENUM ('well')",
            "CREATE FUNCTION two() RETURNS int LANGUAGE sql AS 'SELECT 2'",
            "INSERT INTO notes (words) VALUES ('kept')",
        ):
            connection.execute(statement.encode())
    postgres.stop()
    (new_dir / "postgres" / MARK).unlink()

    dsn = postgres.start()
    assert answer(dsn, "SELECT words FROM notes") == "kept"
    assert answer(dsn, "INSERT INTO notes (words) VALUES ('more') RETURNING id") == 2
    for change in (
        "ALTER TABLE notes ADD COLUMN more int",
        "ALTER SEQUENCE numbers RESTART 5",
        "ALTER TYPE mood ADD VALUE 'better'",
        "ALTER FUNCTION two() RENAME TO three",
    ):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(change.encode())
    owners = "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class"
    assert answer(dsn, f"{owners} WHERE relnamespace = 'public'::regnamespace") == ROLE


NAMELESS = 12345  # a user id that no passwd has a line for

AS_NAMELESS = """
import os, sys
import psycopg
from pathlib import Path
from app.embedded import EmbeddedPostgres, programs
os.setgroups([])
os.setgid({uid})
os.setuid({uid})
{before}
for _ in range(2):
    postgres = EmbeddedPostgres(Path(sys.argv[1]), settings={settings})
    with psycopg.connect(postgres.start()) as connection:
        print(connection.execute("SELECT 41 + 1").fetchone()[0], flush=True)
    postgres.stop()
"""


@pytest.fixture
def nameless_home(stack: ExitStack) -> Path:
    """A directory of a user who has no name."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
    os.chown(home, NAMELESS, NAMELESS)
    try:
        subprocess.run([embedded.find_binaries() / "postgres", "--version"], user=NAMELESS, check=True)
    except PermissionError:
        pytest.skip("an ordinary user cannot reach the binaries here")
    return home


@needs_root
def test_a_user_without_a_name_makes_a_cluster_and_serves_it_again(nameless_home: Path) -> None:
    code = AS_NAMELESS.format(uid=NAMELESS, settings=SETTINGS, before="")
    done = subprocess.run(
        [sys.executable, "-c", code, nameless_home / "data"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("42\n42\n", 0), done.stderr
    assert (nameless_home / "data" / "postgres").stat().st_uid == NAMELESS


@needs_root
def test_a_user_without_a_name_who_cannot_borrow_one_is_told_what_helps(nameless_home: Path) -> None:
    code = AS_NAMELESS.format(uid=NAMELESS, settings=SETTINGS, before="programs.CLONE_NEWUSER = 1")
    done = subprocess.run(
        [sys.executable, "-c", code, nameless_home / "data"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "user namespace" in done.stderr.splitlines()[-1]
    assert f"baton:x:{NAMELESS}:" in done.stderr.splitlines()[-1]
    assert "DATABASE_URL" in done.stderr.splitlines()[-1]


# --- after a power cut

TORN = {
    "empty": lambda whole: b"",
    "zeros": lambda whole: bytes(len(whole)),
    "half": lambda whole: whole[: len(whole) // 2],
}


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory in which the power went out: nobody had time to tidy up."""
    data_dir = tmp_path_factory.mktemp("crashed") / "data"
    postgres = EmbeddedPostgres(data_dir, settings=SETTINGS)
    remember(postgres.start(), "kept")
    remember_pid = (data_dir / "postgres" / "postmaster.pid").read_bytes()
    postgres.stop()
    (data_dir / "postgres" / "postmaster.pid").write_bytes(remember_pid)
    (data_dir / "postgres" / ".s.PGSQL.5432.lock").write_bytes(remember_pid)
    yield data_dir
    shutil.rmtree(data_dir, ignore_errors=True)


def small_files(data_dir: Path) -> list[str]:
    """Every file of ours, and those of the cluster that are no tables, indexes or logs of transactions."""
    cluster = data_dir / "postgres"
    known = (
        "PG_VERSION", "pg_hba.conf", "pg_ident.conf", "postgresql.conf", "postgresql.auto.conf", "postmaster.opts",
        "postmaster.pid", ".s.PGSQL.5432.lock", "global/pg_control", "global/pg_filenode.map", MARK,
    )  # fmt: skip
    [ours] = [path.parent for path in cluster.glob("base/*/PG_VERSION") if path.parent.name not in {"1", "4"}]
    return [
        *("owner.lock", "users.lock", "postgres.log"),
        *(f"postgres/{name}" for name in known),
        *(f"postgres/base/{ours.name}/{name}" for name in ("PG_VERSION", "pg_filenode.map")),
    ]


@pytest.mark.parametrize("how", TORN)
def test_whichever_file_is_torn_the_next_start_works_or_names_the_file_and_the_cure(
    crashed: Path, how: str, tmp_path: Path
) -> None:
    for name in small_files(crashed):
        path = crashed / name
        whole = path.read_bytes()
        saved = {file: (crashed / file).read_bytes() for file in small_files(crashed)}
        path.write_bytes(TORN[how](whole))
        postgres = EmbeddedPostgres(crashed, settings=SETTINGS)
        said = told(postgres)
        postgres.stop()
        assert said == "kept" or (path.name in said and CURE.search(said)), f"{name}: {said}"
        for file, content in saved.items():
            if file != "postgres.log" and (file == name or not (crashed / file).exists()):
                (crashed / file).write_bytes(content)


CURE = re.compile("restore a backup|mend that|mend it|write that number|hold this line")


def told(postgres: EmbeddedPostgres) -> str:
    """What was remembered, or what is said about why it cannot be."""
    try:
        return str(remembered(postgres.start()))
    except EmbeddedPostgresError as refused:
        return str(refused)
    except psycopg.OperationalError as refused:  # as the service would say it
        return postgres.diagnosis(str(refused))


def test_an_owner_that_was_killed_leaves_no_directory_of_its_socket(tmp_path: Path, stack: ExitStack) -> None:
    data_dir = tmp_path / ("a" * 90)
    owner = spawned(stack, OWNER.format(before="", settings=SETTINGS), data_dir)
    socket_dir = Path(line_of(owner).split()[0].removeprefix("host="))
    pid = postmaster_pid(data_dir)
    owner.kill()
    owner.wait()
    eventually(lambda: gone(pid))
    assert socket_dir.parent == Path("/tmp")
    assert socket_dir.is_dir(), "nobody was there to remove it"
    postgres, _ = started(stack, data_dir)
    assert not socket_dir.exists()
    postgres.stop()
    shutil.rmtree(data_dir)


@pytest.mark.parametrize("path", ["~nosuchuser/x", "~nosuchuser"])
def test_a_home_that_does_not_exist_is_named(path: str) -> None:
    with pytest.raises(EmbeddedPostgresError, match=f"DATA_DIR={path}"):
        EmbeddedPostgres(Path(path))
