"""The schema of a database: applied to an empty one, migrated when told, and checked on every start.

`schema.sql` is the whole of it. A database that an earlier release made is brought there by the files in `migrations/`.
The code serves its own schema and the one before it, once that is prepared: then processes of two releases work
side by side.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psycopg
from psycopg import errors as pg_errors

from app import COMMAND
from app.db import catalogue, migrating
from app.db.address import Unreachable, address
from app.db.ladder import Ladder, Leg, MalformedMigration, Phase, Progress
from app.db.migrating import MigrationFailed

__all__ = ["MalformedMigration", "MigrationFailed", "Phase", "Progress", "State"]

FILE: Final = Path(__file__).parent.parent.parent / "schema.sql"
RELEASED: Final = {1: "0.1.0"}  # the schema of each release, by the highest number among its migrations
LADDER: Final = Ladder(Path(__file__).parent / "migrations", FILE, RELEASED)
VERSION: Final = LADDER.version  # what schema.sql writes into baton_schema; a test keeps the two equal
CONNECT_TIMEOUT_SECONDS: Final = 5
OLDEST_SERVER: Final = 150_000  # PostgreSQL 15, the oldest our SQL was tried on
NEEDS: Final = (
    "Baton needs a database of its own, the right to create tables in it, and the extensions pg_trgm and btree_gin "
    "(an administrator can create them beforehand)."
)
LOCK: Final = 4_242_001  # advisory lock under which one of several starting processes applies schema.sql
NAMED_MAX: Final = 3  # of the objects that are not as they should be: the message is one line

BOOKS: Final = """
ALTER TABLE baton_schema
    ADD COLUMN IF NOT EXISTS prepared integer,
    ADD COLUMN IF NOT EXISTS fingerprint text
"""
"""What 0.1.0 did not write down. It must be there before the first migration, so it is none itself."""

PHASES: Final[tuple[Phase, ...]] = ("pre", "post")
UNDER_WAY: Final = "under way"
"""Stands for the fingerprint from the first change of a phase to its last, so that one that was cut off can be taken up again."""
APPLY: Final = f"{COMMAND} schema apply"


class SchemaMismatch(Exception):
    """The database holds a schema that this version cannot serve; the message says what to do."""


class Unsuitable(Exception):
    """The database cannot hold the schema; the message says what it lacks."""


class State(NamedTuple):
    """Where a database stands."""

    version: int
    prepared: int
    created: bool  # whether this call applied schema.sql to an empty database
    done: Sequence[Leg]  # what this call did
    pending: Sequence[Leg]  # what there is still to do


def _nothing_before() -> None:
    pass


def apply(
    dsn: str,
    phases: Sequence[Phase] = PHASES,
    *,
    before: Callable[[], object] = _nothing_before,
    pooler: bool = False,
    ladder: Ladder = LADDER,
) -> State:
    """Bring a database to the schema of this code, as far as the phases go. One that is there already is left alone.

    `before` is called before anything changes in a database that holds data: to write a dump.
    """
    with connect(dsn) as connection:
        if _progress(connection) is None and _create(connection, ladder):
            return State(ladder.version, ladder.version, created=True, done=(), pending=())
        if not any(ladder.pending(_recognised(connection, ladder))):
            return _fitting(connection, ladder)
        if pooler:
            raise Unsuitable(
                "Migrations cannot pass a pooler. Run this command once with a DATABASE_URL that leads to Postgres itself, "
                "and without DATABASE_POOLER."
            )
        with migrating.only_one(connection):
            pending = list(ladder.pending(_recognised(connection, ladder)))
            legs = _wanted(pending, phases)
            if legs:
                before()
                migrating.patiently(connection, "The migration", lambda: connection.execute(BOOKS))
            for leg in legs:
                _climb(connection, ladder, leg)
            version, prepared, _ = _recognised(connection, ladder)
            return State(version, prepared, created=False, done=legs, pending=pending[len(legs) :])


def plan(dsn: str, ladder: Ladder = LADDER) -> State:
    """What `apply` would do."""
    with connect(dsn) as connection:
        if _progress(connection) is None:
            raise SchemaMismatch(f"The database has no schema yet. `{APPLY}` applies the whole of it.")
        progress = _recognised(connection, ladder)
        return State(
            progress.version,
            progress.prepared,
            created=False,
            done=(),
            pending=list(ladder.pending(progress)),
        )


def check(dsn: str, ladder: Ladder = LADDER) -> State:
    """Where a database stands that this code can serve; SchemaMismatch if it cannot."""
    with connect(dsn) as connection:
        return _fitting(connection, ladder, thorough=True)


def ready(dsn: str, ladder: Ladder = LADDER) -> State:
    """The same, but an empty database gets its schema first."""
    with connect(dsn) as connection:
        if _progress(connection) is not None:
            return _fitting(connection, ladder)
    return apply(dsn, ladder=ladder)


class Still(NamedTuple):
    """A database as it is at one moment, for as long as the block that asked for it."""

    snapshot: str  # by which another session sees the same
    rows: dict[str, int]  # of each table
    objects: dict[str, str]  # how each looks; of a database that has a schema of ours


@contextmanager
def still(dsn: str) -> Generator[Still]:
    """Look at a database, and keep what was seen: to copy it while others write, or to see that two are the same."""
    with connect(dsn) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        tables = connection.execute("""
            SELECT pg_export_snapshot(), array(
                SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
                 WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1)
        """).fetchone()
        assert tables is not None
        rows: dict[str, int] = {}
        for table in tables[1]:
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert row is not None
            rows[table] = row[0]
        yield Still(tables[0], rows, catalogue.fingerprints(connection) if _progress(connection) else {})


def contents(dsn: str) -> tuple[dict[str, int], dict[str, str]]:
    """How many rows each table has, and how each object looks."""
    with still(dsn) as seen:
        return seen.rows, seen.objects


def is_empty(dsn: str) -> bool:
    """Whether a database has no table of anybody's."""
    with connect(dsn) as connection:
        row = connection.execute("""
            SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema'))
        """).fetchone()
        assert row is not None
        return row[0]


def settle(dsn: str) -> State:
    """Give a restored database the statistics that a dump leaves out, and say where it stands."""
    with connect(dsn) as connection:
        connection.execute("ANALYZE")
        progress = _recognised(connection, LADDER)
        return State(*progress[:2], created=False, done=(), pending=list(LADDER.pending(progress)))


def _fitting(connection: psycopg.Connection, ladder: Ladder, *, thorough: bool = False) -> State:
    if _progress(connection) is None:
        raise SchemaMismatch(f"The database has no schema yet. Run `{APPLY}`.")
    progress = _recognised(connection, ladder, thorough=thorough)
    pending = list(ladder.pending(progress))
    if progress.prepared < ladder.version:
        raise SchemaMismatch(
            f"The database has schema version {progress.version}, and this Baton needs version {ladder.version}. "
            f"Run `{APPLY} --pre` while servers of the release before still work on it, or `{APPLY}` if none does."
        )
    return State(progress.version, progress.prepared, created=False, done=(), pending=pending)


def _wanted(pending: Sequence[Leg], phases: Sequence[Phase]) -> list[Leg]:
    """The legs to do now: as many as can be done without one that is not wanted."""
    legs: list[Leg] = []
    for leg in pending:
        if leg.phase not in phases:
            break
        legs.append(leg)
    if not legs and any(leg.phase in phases for leg in pending):
        first = pending[0]
        raise SchemaMismatch(
            f"There is something to do before that: run `{APPLY} --{first.phase}` "
            + (
                "first."
                if first.phase == "pre"
                else "once no server of an older release works on the database."
            )
        )
    return legs


def _climb(connection: psycopg.Connection, ladder: Ladder, leg: Leg) -> None:
    """Do one leg. The last of its transactions sees whether what is there is what should be."""
    if leg.migrations:
        connection.execute("UPDATE baton_schema SET fingerprint = %s", (UNDER_WAY,))
    for migration in leg.migrations:
        migrating.run(
            connection, migration, lambda number=migration.number: _record(connection, leg.phase, number)
        )
    with connection.transaction():
        _record(connection, leg.phase, leg.to)
        progress = _progress(connection)
        assert progress is not None
        expected = ladder.known.get(progress.name)
        if (
            expected is not None
            and catalogue.is_conclusive(connection)
            and (odd := catalogue.differing(expected, catalogue.fingerprints(connection)))
        ):
            raise MigrationFailed(
                f"After the migrations to version {leg.to}, {_names(odd)} not as they should be."
            )
        connection.execute(
            "UPDATE baton_schema SET fingerprint = %s", (expected and catalogue.fingerprint(expected),)
        )


def _record(connection: psycopg.Connection, phase: Phase, number: int) -> None:
    connection.execute(
        "UPDATE baton_schema SET prepared = %s"
        if phase == "pre"
        else "UPDATE baton_schema SET version = %s, applied_at = now()",
        (number,),
    )


def _create(connection: psycopg.Connection, ladder: Ladder) -> bool:
    """Apply schema.sql to an empty database, in one transaction: all of it or nothing. False if somebody was faster."""
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            if _progress(connection) is not None:
                return False
            connection.execute(ladder.schema_file.read_bytes())
            expected = ladder.known.get(str(ladder.version))
            connection.execute(
                "UPDATE baton_schema SET prepared = version, fingerprint = %s",
                (expected and catalogue.fingerprint(expected),),
            )
            return True
    except (pg_errors.InsufficientPrivilege, pg_errors.FeatureNotSupported, pg_errors.DuplicateTable) as e:
        raise Unsuitable(f"The schema cannot be applied: {e} {NEEDS}") from None


def _recognised(connection: psycopg.Connection, ladder: Ladder, *, thorough: bool = False) -> Progress:
    """How far a database has come that Baton made; SchemaMismatch if a later one did, or it is not what it says.

    The fingerprint that was written down is believed, unless one is thorough. 0.1.0 left none.
    """
    progress = _progress(connection)
    assert progress is not None
    if progress.version > ladder.version:
        raise SchemaMismatch(
            f"The database has schema version {progress.version}, this Baton serves {_range(ladder)}. "
            "Run the Baton that fits it, or use another database."
        )
    expected = ladder.known.get(progress.name)
    if (
        expected is None
        or progress.fingerprint == UNDER_WAY
        or (not thorough and progress.fingerprint == catalogue.fingerprint(expected))
    ):
        return progress
    if catalogue.is_conclusive(connection) and (
        odd := catalogue.differing(expected, catalogue.fingerprints(connection))
    ):
        raise SchemaMismatch(
            f"The database says schema version {progress.version}, but {_names(odd)} not as that version has them: "
            "it was made between releases, or changed by hand. Use the Baton that made it, or another database."
        )
    return progress


def _range(ladder: Ladder) -> str:
    return (
        f"version {ladder.version}"
        if ladder.previous == ladder.version
        else f"versions {ladder.previous} to {ladder.version}"
    )


def _names(objects: Sequence[str]) -> str:
    more = len(objects) - NAMED_MAX
    return f"{', '.join(objects[:NAMED_MAX])}{f' and {more} more' if more > 0 else ''} {'are' if len(objects) > 1 else 'is'}"


def _progress(connection: psycopg.Connection) -> Progress | None:
    """What baton_schema says; None if there is no such thing."""
    row = connection.execute("SELECT to_regclass('baton_schema') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    row = connection.execute("SELECT to_jsonb(s) FROM baton_schema s").fetchone()  # 0.1.0 had fewer columns
    if row is None:
        return None
    return Progress(row[0]["version"], row[0].get("prepared") or row[0]["version"], row[0].get("fingerprint"))


@contextmanager
def connect(dsn: str) -> Generator[psycopg.Connection]:
    """A session with a database that Baton can work with; Unreachable or Unsuitable if it is none."""
    try:
        connection = psycopg.connect(address(dsn), connect_timeout=CONNECT_TIMEOUT_SECONDS, autocommit=True)
    except psycopg.OperationalError as e:
        raise Unreachable(str(e)) from None
    with connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise Unsuitable("The database server is too old. Baton needs PostgreSQL 15 or newer.")
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            raise Unsuitable(f"The database is encoded as {encoding}. Make one with ENCODING 'UTF8'.")
        try:
            yield connection
        except psycopg.OperationalError as e:
            raise Unreachable(f"The database broke off, and the command can be run again: {e}") from None
