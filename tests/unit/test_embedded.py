"""The embedded Postgres: one owner, any number of borrowers, and nothing left behind by any kind of death."""

import fcntl
import logging
import os
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

from app import embedded
from app.embedded import EmbeddedPostgres, EmbeddedPostgresError, programs, server

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
        EmbeddedPostgresError, match=r"made by Postgres 14, .* are Postgres \d\d\. Set POSTGRES_BIN"
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
