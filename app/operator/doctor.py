"""What an operator would look at first: the settings, the database under them, and what waits there for too long.

Each check asks one thing and says what to do about it. Nothing is changed, and a check that cannot see enough says so.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

from app import COMMAND
from app.config import BadSetting, Config, from_environment
from app.database_url import borrowed
from app.db import Unreachable, catalogue, schema
from app.db.database import SHARED_CONNECTIONS
from app.db.looking import Looking, looking
from app.embedded import EmbeddedPostgres, EmbeddedPostgresError
from app.operator.names import Made

State = Literal["ok", "warning", "problem"]

CLOCK_SECONDS_MAX: Final = 2.0
DISK_BYTES_MIN: Final = 1 << 30
DISK_BYTES_LEAST: Final = 200 << 20  # below this Postgres may stop within minutes
TRANSACTION_SECONDS_MAX: Final = 300
DEAD_ROWS_MIN: Final = 100_000
TRANSACTIONS_MAX: Final = 1_000_000_000  # half of what Postgres can tell apart
OVERDUE_SECONDS: Final = 60
KEY_DAYS_MIN: Final = 7
NAMED_MAX: Final = 3


class Finding(Made):
    """What one check found."""

    check: str
    state: State
    found: str
    do: str | None = None  # what to do about it, if anything


class Diagnosis(Made):
    """All findings, and whether none of them is a problem."""

    healthy: bool
    findings: list[Finding]


def _ok(check: str, found: str) -> Finding:
    return Finding(check=check, state="ok", found=found)


def _warning(check: str, found: str, do: str) -> Finding:
    return Finding(check=check, state="warning", found=found, do=do)


def _problem(check: str, found: str, do: str) -> Finding:
    return Finding(check=check, state="problem", found=found, do=do)


def examine() -> Diagnosis:
    """Look at everything that can be reached."""
    findings = list(_findings())
    return Diagnosis(healthy=all(found.state != "problem" for found in findings), findings=findings)


def _findings() -> Iterator[Finding]:
    try:
        config = from_environment()
    except BadSetting as e:
        yield _problem("settings", str(e), "Correct the setting.")
        return
    where = "DATABASE_URL" if config.database_url else f"the embedded Postgres in {config.data_dir}"
    yield _ok("settings", f"They can be read; the database is {where}.")
    if not config.database_url:
        yield from _disk(config.data_dir)
        if not EmbeddedPostgres(config.data_dir, config.postgres_bin_dir).exists():
            yield _warning(
                "database",
                f"There is none in {config.data_dir} yet.",
                "Start the server, which makes one, or set DATA_DIR to where yours is.",
            )
            return
    try:
        with borrowed(config) as found:
            yield from _database(config, found.dsn)
    except (Unreachable, EmbeddedPostgresError, schema.Unsuitable) as e:
        yield _problem(
            "database",
            str(e),
            "Nothing is served before that. Start the database, or correct where it is said to be.",
        )


def _database(config: Config, dsn: str) -> Iterator[Finding]:
    with looking(dsn) as look:
        yield from _version(look)
        yield from _clock(look)
        for check in SERVERS:
            yield from check(look)
        yield from _connections(look, config)
        yield from _planning(look, config)
    try:
        state = schema.check(dsn)
    except schema.SchemaMismatch as e:
        yield _problem("schema", str(e), "Do what it says: until then no server starts on it.")
        return
    if state.pending:
        yield _warning(
            "schema",
            f"Version {state.version} can be served, and an upgrade is half done.",
            f"Once no server of an older release runs any more: `{schema.APPLY} --{state.pending[0].phase}`.",
        )
    else:
        yield _ok("schema", f"Version {state.version}, each object as it should be.")
    with looking(dsn) as look:
        for check in CONTENTS:
            yield from check(look)


def _disk(data_dir: Path) -> Iterator[Finding]:
    existing = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    said = f"{free >> 20} MB are free where {data_dir} is."
    if free >= DISK_BYTES_MIN:
        yield _ok("disk", said)
    else:
        yield Finding(
            check="disk",
            state="warning" if free >= DISK_BYTES_LEAST else "problem",
            found=said,
            do="Make room before the database stops: a full disk refuses every write.",
        )


def _version(look: Looking) -> Iterator[Finding]:
    major = look.major
    if major > catalogue.NEWEST_TRIED:
        yield _warning(
            "database",
            f"PostgreSQL {major} is newer than any that this Baton was tried on ({catalogue.NEWEST_TRIED}).",
            "Look for a newer Baton.",
        )
    else:
        size = look.text("SELECT pg_size_pretty(pg_database_size(current_database()))")
        yield _ok("database", f"PostgreSQL {major} answers; it holds {size}.")


def _clock(look: Looking) -> Iterator[Finding]:
    before = time.time()
    theirs = look.number("SELECT extract(epoch FROM clock_timestamp())::float8")
    after = time.time()
    # Whatever the way there took is no difference.
    apart = max(before - theirs, theirs - after, 0.0)
    if apart <= CLOCK_SECONDS_MAX:
        yield _ok("clock", "This machine and the database agree on what time it is.")
    else:
        yield _warning(
            "clock",
            f"This machine and the database are {apart:.0f} seconds apart.",
            "Let both take the time from the network (NTP). Leases and order are the database's and stay right.",
        )


def _durability(look: Looking) -> Iterator[Finding]:
    off = [
        name
        for name, value in look.rows(
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY 1",
        )
        if value == "off"
    ]
    if off:
        yield _problem(
            "durability",
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a write that was answered can be lost.",
            f"Set {' and '.join(f'{name} = on' for name in off)} in postgresql.conf and reload.",
        )
    else:
        yield _ok("durability", "What was answered is on disk.")


def _transactions(look: Looking) -> Iterator[Finding]:
    """What keeps dead rows from being removed: a session in a transaction, a prepared one, a slot that nobody reads."""
    old = [
        f"{what} ({int(seconds) // 60} minutes)"
        for what, seconds in look.rows(
            """
            SELECT 'session ' || pid || coalesce(' of ' || usename, ''), extract(epoch FROM now() - xact_start)
              FROM pg_stat_activity
             WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'
            UNION ALL
            SELECT 'prepared transaction ' || gid, extract(epoch FROM now() - prepared) FROM pg_prepared_xacts
            ORDER BY 2 DESC
            """,
        )
        if seconds > TRANSACTION_SECONDS_MAX
    ]
    idle = [
        str(name)
        for (name,) in look.rows("SELECT slot_name FROM pg_replication_slots WHERE NOT active ORDER BY 1")
    ]
    if old:
        yield _warning(
            "transactions",
            f"Open for long: {_named(old)}. Meanwhile no dead row is removed, and everything gets slower.",
            "End it: SELECT pg_terminate_backend(PID); or ROLLBACK PREPARED 'NAME'.",
        )
    if idle:
        yield _warning(
            "transactions",
            f"Nobody reads the replication slots {_named(idle)}; the log that they keep fills the disk.",
            "Start their standby, or SELECT pg_drop_replication_slot('NAME').",
        )
    if not old and not idle:
        yield _ok("transactions", "None is open for long.")


def _vacuum(look: Looking) -> Iterator[Finding]:
    if look.text("SELECT current_setting('autovacuum')") == "off":
        yield _problem(
            "vacuum",
            "Autovacuum is off: tables grow without end.",
            "Set autovacuum = on in postgresql.conf and reload.",
        )
        return
    age = look.number("SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()")
    if age > TRANSACTIONS_MAX:
        yield _problem(
            "vacuum",
            f"The oldest row is {age} transactions old; Postgres stops writing at two billion.",
            "See which transaction or slot is old, then VACUUM FREEZE the database.",
        )
    littered = [
        f"{table} ({dead} dead, {live} live)"
        for table, dead, live in look.rows(
            "SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables ORDER BY n_dead_tup DESC",
        )
        if dead > DEAD_ROWS_MIN + live
    ]
    if littered:
        yield _warning(
            "vacuum",
            f"More dead rows than live ones: {_named(littered)}.",
            "If no transaction is open for long, let autovacuum work harder (autovacuum_vacuum_cost_limit), or VACUUM now.",
        )
    else:
        yield _ok("vacuum", "Autovacuum keeps up.")


def _indexes(look: Looking) -> Iterator[Finding]:
    invalid = [
        str(name)
        for (name,) in look.rows(
            """
            SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             WHERE NOT i.indisvalid AND c.relnamespace = 'public'::regnamespace ORDER BY 1
            """,
        )
    ]
    if invalid:
        yield _problem(
            "indexes",
            f"Left half built: {_named(invalid)}. Writes pay for them, and no read uses them.",
            f"`{schema.APPLY}` builds those of a migration; others: REINDEX INDEX CONCURRENTLY {invalid[0]}.",
        )
    else:
        yield _ok("indexes", "All are valid.")


def _connections(look: Looking, config: Config) -> Iterator[Finding]:
    allowed = look.number(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    )
    used = look.number("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    wanted = config.workers * (config.database_connections + SHARED_CONNECTIONS)
    said = f"{used} of {allowed} are in use; a server with these settings takes up to {wanted}."
    if wanted > allowed and not config.database_pooler:
        yield _problem(
            "connections", said, "Raise max_connections, or lower WORKERS or DATABASE_CONNECTIONS."
        )
    else:
        yield _ok("connections", said)


def _planning(look: Looking, config: Config) -> Iterator[Finding]:
    """Behind a pooler the role's own settings count, and not what we would ask for."""
    if not config.database_pooler:
        return
    if look.text("SELECT current_setting('jit')") == "on":
        yield _problem(
            "planning",
            "`jit` is on: Postgres compiles each write for seconds, and creating a task ends in a time-out.",
            "ALTER ROLE … SET jit = off, for the role in DATABASE_URL.",
        )
    else:
        yield _ok("planning", "No statement is compiled.")


def _jobs(look: Looking) -> Iterator[Finding]:
    overdue = look.number(
        """
        SELECT count(*) FROM runs
         WHERE holder_id IS NOT NULL AND ended_at IS NULL AND lease_check_at < now() - make_interval(secs => %s)
        """,
        OVERDUE_SECONDS,
    )
    if overdue:
        yield _warning(
            "jobs",
            f"{overdue} claims should have been looked at {OVERDUE_SECONDS} seconds ago or earlier.",
            "No server runs on this database, or its job does not come through: look for `job leases` in its log.",
        )
    else:
        yield _ok("jobs", "Nothing is overdue.")


def _keys(look: Looking) -> Iterator[Finding]:
    rows = look.rows(
        """
        SELECT w.slug, count(k.id), count(*) FILTER (WHERE k.expires_at < now() + make_interval(days => %s))
          FROM workspaces w
          LEFT JOIN api_keys k
            ON k.workspace_id = w.id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
         GROUP BY w.slug ORDER BY w.slug
        """,
        KEY_DAYS_MIN,
    )
    closed = [str(slug) for slug, keys, _ in rows if not keys]
    ending = [f"{slug} ({soon})" for slug, _, soon in rows if soon]
    if not rows:
        yield _warning(
            "keys",
            "There is no workspace yet.",
            f"`{COMMAND} workspace create SLUG`, or start a server on the embedded Postgres, which makes the first.",
        )
    if closed:
        yield _warning(
            "keys",
            f"Nobody has a key to {_named(closed)}.",
            f"`{COMMAND} key create HANDLE --workspace SLUG`.",
        )
    if ending:
        yield _warning(
            "keys",
            f"Keys that end within {KEY_DAYS_MIN} days: {_named(ending)}.",
            f"`{COMMAND} key list --workspace SLUG` names them; give their owners new ones.",
        )
    if rows and not closed and not ending:
        yield _ok("keys", "Every workspace has keys, and none ends soon.")


Check = Callable[[Looking], Iterator[Finding]]

SERVERS: Final[tuple[Check, ...]] = (_durability, _transactions, _vacuum, _indexes)
"""What can be asked of any database."""

CONTENTS: Final[tuple[Check, ...]] = (_jobs, _keys)
"""What can be asked where the tables are as this Baton knows them."""


def _named(things: list[str]) -> str:
    more = len(things) - NAMED_MAX
    return ", ".join(things[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
