"""The commands that look after the database itself: its schema, its backups, and the Postgres that is embedded."""

import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from app import COMMAND, logs
from app.config import BadSetting, Config, forget_libpq, from_environment
from app.database_url import borrowed
from app.db import schema
from app.db.announcement import Announcement
from app.embedded import majors
from app.operator import backups, doctor
from app.operator.console import AsJson, fail, say, show
from app.operator.names import Made

HOLD_SECONDS: Final = 5.0  # between two looks whether the servers are there

clusters = typer.Typer(no_args_is_help=True, help="The embedded Postgres.")
schemas = typer.Typer(no_args_is_help=True, help="The database's schema.")


class SchemaFile(Made):
    """A migration."""

    file: str
    summary: str


class SchemaLeg(Made):
    """The files of one phase of one release, and how to run them."""

    phase: str
    to: int
    command: str
    files: list[SchemaFile]


class SchemaState(Made):
    """The schema of a database, as schema.sql and the migrations count it."""

    version: int  # everything is done up to here
    prepared: int  # what only adds is done up to here
    target: int  # what this Baton is made for
    fits: bool  # whether this Baton can serve it
    pending: list[SchemaLeg]


class SchemaApplied(SchemaState):
    """The same, after what a command did."""

    applied: bool  # whether anything was to be done
    files: list[str]


@schemas.command("plan")
def schema_plan(as_json: AsJson = False) -> None:
    """Show the migrations that a database still needs, and the commands that run them."""
    with borrowed(from_environment()) as found:
        state = _state(schema.plan(found.dsn))
    if as_json:
        show(state, as_json=True)
        return
    for leg in state.pending:
        print(f"{leg.command}  # to version {leg.to}")
        for migration in leg.files:
            print(f"    {migration.file}  {migration.summary}")
    if not state.pending:
        print(f"The database has schema version {state.version}; there is nothing to do.")


@schemas.command("apply")
def schema_apply(
    pre: Annotated[
        bool, typer.Option("--pre", help="Only add; servers of the release before go on working.")
    ] = False,
    post: Annotated[
        bool, typer.Option("--post", help="Finish, once no server of an older release runs any more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a database to the schema of this Baton: an empty one, or one of an older release. Again does nothing."""
    config = from_environment()
    phases: list[schema.Phase] = [phase for phase in schema.PHASES if {"pre": pre, "post": post}[phase]]
    logs.show_progress()
    with borrowed(config, creates=True) as found:
        state = schema.apply(
            found.dsn, phases or schema.PHASES, before=found.dump, pooler=config.database_pooler
        )
    files = [migration.path.name for leg in state.done for migration in leg.migrations]
    applied = SchemaApplied(
        applied=state.created or bool(state.done), files=files, **msgspec.structs.asdict(_state(state))
    )
    if as_json:
        show(applied, as_json=True)
        return
    if state.created:
        print(f"The database was empty and has schema version {state.version} now.")
    elif state.done:
        print(f"Done: {', '.join(files) or 'no file was needed'}.")
    _tell(applied)


@schemas.command("check")
def schema_check(as_json: AsJson = False) -> None:
    """Check that this Baton can serve the database."""
    with borrowed(from_environment()) as found:
        state = _state(schema.check(found.dsn))
    if as_json:
        show(state, as_json=True)
    else:
        _tell(state)


class PostgresMoved(Made):
    """What became of the data of an embedded Postgres."""

    upgraded: bool
    from_major: int | None
    to_major: int | None
    old_cluster: str | None
    dump: str | None


@clusters.command("upgrade")
def postgres_upgrade(
    old_bin: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the programs of the Postgres that made the data; Debian's by default."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Move the embedded database to the installed major version of Postgres. The old one is kept until discarded."""
    config = _embedded()
    logs.show_progress()
    moved = majors.move(config.data_dir, config.postgres_bin_dir, old_bin, schema.contents)
    if moved is None:
        done = PostgresMoved(upgraded=False, from_major=None, to_major=None, old_cluster=None, dump=None)
    else:
        done = PostgresMoved(
            upgraded=True,
            from_major=moved.old_major,
            to_major=moved.major,
            old_cluster=str(moved.kept),
            dump=str(moved.dump),
        )
    if as_json:
        show(done, as_json=True)
    elif moved is None:
        print("The installed Postgres made the data; there is nothing to do.")
    else:
        print(f"The data is in Postgres {moved.major} now. The old cluster is kept in {moved.kept}.")
        print(f"Once all is well: {COMMAND} postgres discard-old")


class PostgresDiscarded(Made):
    """What was deleted."""

    discarded: list[str]


@clusters.command("discard-old")
def postgres_discard_old(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: AsJson = False
) -> None:
    """Delete the clusters that upgrades have kept."""
    config = _embedded()
    found = [str(path) for path in majors.old_clusters(config.data_dir)]
    if found and not yes and not typer.confirm(f"Delete {', '.join(found)} for good?"):
        fail("Nothing was deleted.")
    majors.discard_old(config.data_dir)
    show(PostgresDiscarded(discarded=found), as_json=as_json)


def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it; nothing may be there yet.")],
    as_json: AsJson = False,
) -> None:
    """Write the whole database to a file, while the service goes on, and see that the file can be read."""
    logs.show_progress()
    made = backups.write(from_environment(), file)
    if as_json:
        show(made, as_json=True)
    else:
        print(f"{file} holds {made.rows} rows of {made.tables} tables, in {made.bytes} bytes.")


def restore(
    file: Annotated[Path, typer.Argument(help="What `backup` wrote.")], as_json: AsJson = False
) -> None:
    """Fill an empty database from a backup: all of it or nothing. One that holds anything is left as it is."""
    logs.show_progress()
    made = backups.restore(from_environment(), file)
    if as_json:
        show(made, as_json=True)
        return
    print(f"The database holds the {made.rows} rows of {made.tables} tables that {file} has.")
    if made.next:
        print(f"An older Baton made it: it has schema version {made.schema_version}. Next: {made.next}")


class LogLevel(Made):
    """How much the servers log for now."""

    level: str
    minutes: int


def log_level(
    level: Annotated[str, typer.Argument(help="debug, info, warning or error.")],
    minutes: Annotated[
        int, typer.Option(min=1, max=24 * 60, help="Take it back after so many minutes.")
    ] = 60,
    as_json: AsJson = False,
) -> None:
    """Have every server process of this database log more, or less, while the command runs. Ctrl-C or SIGTERM takes it back.

    Of several at once the one that logs most counts.
    """
    config = from_environment()
    if level not in logs.LEVELS:
        fail(f"There is no log level {level!r}. There are {', '.join(logs.LEVELS)}.")
    with borrowed(config) as found:
        schema.check(found.dsn)
        told = Announcement(found.dsn, logs.LEVELS.index(level), pooler=config.database_pooler)
    # From here on nobody waits for us: an embedded Postgres may stop with its server, or has, if it ran for us only.
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # like Ctrl-C, which in the background may be ignored
    try:
        if not told.holds():
            fail("No server runs on the embedded Postgres.")
        if as_json:
            show(LogLevel(level=level, minutes=minutes), as_json=True)
        else:
            print(
                f"Within two seconds the servers log at {level}. Ctrl-C takes it back, and so do {minutes} minutes."
            )
        sys.stdout.flush()
        until = time.monotonic() + 60 * minutes
        while (left := until - time.monotonic()) > 0 and told.holds():
            time.sleep(min(left, HOLD_SECONDS))
    except KeyboardInterrupt:
        pass
    finally:
        told.take_back()


def examine(
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for a warning, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at the settings, the database and what waits there, and say what to do. Exits with 1 if there is a problem."""
    found = doctor.examine()
    if as_json:
        show(found, as_json=True)
    else:
        for finding in found.findings:
            say(f"{finding.state:8} {finding.check:12} {finding.found}")
            if finding.do:
                say(f"{'':21} {finding.do}")
    if not found.healthy or (strict and any(finding.state != "ok" for finding in found.findings)):
        raise SystemExit(1)


def _embedded() -> Config:
    config = from_environment()
    if config.database_url:
        raise BadSetting("DATABASE_URL is set, so there is no embedded Postgres.")
    forget_libpq()
    return config


def _state(state: schema.State) -> SchemaState:
    return SchemaState(
        version=state.version,
        prepared=state.prepared,
        target=schema.VERSION,
        fits=state.prepared >= schema.VERSION,
        pending=[
            SchemaLeg(
                phase=leg.phase,
                to=leg.to,
                command=f"{schema.APPLY} --{leg.phase}",
                files=[SchemaFile(file=m.path.name, summary=m.summary) for m in leg.migrations],
            )
            for leg in state.pending
        ],
    )


def _tell(state: SchemaState) -> None:
    """Say in words how a database stands."""
    fits = (
        "fits this Baton"
        if state.fits
        else f"does not fit this Baton yet, which needs version {state.target}"
    )
    print(f"The database has schema version {state.version} and {fits}.")
    if state.pending:
        print(f"Next, once no server of an older release runs any more: {state.pending[0].command}")
