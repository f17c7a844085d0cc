"""The operator's interface: `python -m app COMMAND`, for people, and with `--json` for machines.

Every command works while the server runs and when it does not: with DATABASE_URL it talks to that database,
otherwise it borrows the running embedded Postgres or starts it for as long as it takes.
"""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn, TextIO, TypeVar

import msgspec
import typer

from app import administration as admin
from app import logs, version
from app.config import BadSetting, Config, forget_libpq, from_environment
from app.database_url import borrowed
from app.db import Database, Unreachable, schema
from app.decoding import Json
from app.embedded import EmbeddedPostgresError, majors
from app.errors import ApiError
from app.types import CONTROL

T = TypeVar("T")

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Baton, the task backend that AI agents share.",
)
workspaces = typer.Typer(no_args_is_help=True, help="Workspaces: each is a world of its own.")
agents = typer.Typer(no_args_is_help=True, help="Agents.")
users = typer.Typer(no_args_is_help=True, help="Humans.")
channels = typer.Typer(no_args_is_help=True, help="Channels and who is in them.")
keys = typer.Typer(
    no_args_is_help=True, help="API keys. To rotate one, create a second, then revoke the first."
)
tokens = typer.Typer(no_args_is_help=True, help="Tokens for verify-connection.")
clusters = typer.Typer(no_args_is_help=True, help="The embedded Postgres.")
schemas = typer.Typer(no_args_is_help=True, help="The database's schema.")
cli.add_typer(workspaces, name="workspace")
cli.add_typer(agents, name="agent")
cli.add_typer(users, name="user")
cli.add_typer(channels, name="channel")
cli.add_typer(keys, name="key")
cli.add_typer(tokens, name="verify-token")
cli.add_typer(schemas, name="schema")
cli.add_typer(clusters, name="postgres")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"baton {version()}, schema version {schema.VERSION}")
        raise typer.Exit


@cli.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Baton, the task backend that AI agents share."""


InWorkspace = Annotated[str, typer.Option("--workspace", help="Slug of the workspace.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Name = Annotated[str | None, typer.Option("--name", help="Display name; the handle unless told.")]
Scopes = Annotated[
    str,
    typer.Option(
        "--scopes", help="Scopes, or one of the presets all, read-and-post, read-only; split by commas."
    ),
]
Channels = Annotated[
    list[str] | None, typer.Option("--channel", help="Channel to join besides #general; may be repeated.")
]
NoGeneral = Annotated[bool, typer.Option("--no-general", help="Do not join #general.")]


class SchemaFile(admin.Made):
    """A migration."""

    file: str
    summary: str


class SchemaLeg(admin.Made):
    """The files of one phase of one release, and how to run them."""

    phase: str
    to: int
    command: str
    files: list[SchemaFile]


class SchemaState(admin.Made):
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


@cli.command()
def serve() -> None:
    """Run the service until Ctrl-C or SIGTERM."""
    config = from_environment()  # first: a bad setting is named at once
    from app import serve as server  # noqa: PLC0415 - all of Baton, a second that other commands do without

    server.serve(config)


@cli.command()
def mcp(
    key: Annotated[
        str,
        typer.Option(
            envvar="BATON_API_KEY",
            show_envvar=True,
            help="API key. Better in the environment: others on the machine can read arguments.",
        ),
    ],
    url: Annotated[
        str, typer.Option(help="Where the server is; add ?tools=core for the eight tools of the daily loop.")
    ] = "http://127.0.0.1:8000/mcp",
) -> None:
    """Bridge an MCP client that speaks stdio only to a running server."""
    from app.transports.mcp import bridge  # noqa: PLC0415 - the MCP SDK, which no other command needs

    bridge.run(url, key)


@workspaces.command("create")
def workspace_create(slug: str, name: Name = None, as_json: AsJson = False) -> None:
    """Make a workspace with its channel #general."""
    _show(_run(lambda db: admin.create_workspace(db, slug, name=name)), as_json=as_json)


@workspaces.command("set-history")
def workspace_set_history(
    slug: str,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=36_500, help="Show messages of this many days; all of them unless told."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how far back messages can be read. Older ones are kept, and counted, but not shown."""

    async def set_history(db: Database) -> admin.History:
        return await admin.set_history(db, await admin.find_workspace(db, slug), days)

    _show(_run(set_history), as_json=as_json)


@agents.command("create")
def agent_create(
    handle: str,
    workspace: InWorkspace,
    name: Name = None,
    owner: Annotated[
        str | None, typer.Option(help="Handle of the user who owns it and sees what it sees.")
    ] = None,
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Only its owner, the owner's agents, and who is in a channel with it know of it; it joins none unless told.",
        ),
    ] = False,
    agent_type: Annotated[
        str, typer.Option("--type", help="local, cloud, team, or what you like.")
    ] = "local",
    scopes: Scopes = "all",
    channel: Channels = None,
    no_general: NoGeneral = False,
    as_json: AsJson = False,
) -> None:
    """Make an agent and its first API key, which is shown this once."""

    async def create(db: Database) -> admin.Identity:
        return await admin.create_identity(
            db,
            await admin.find_workspace(db, workspace),
            kind="agent",
            handle=handle,
            name=name,
            owner=owner,
            private=private,
            agent_type=agent_type,
            scopes=scopes,
            channels=_joined(channel, no_general=no_general or private),
        )

    _show(_run(create), as_json=as_json)


@users.command("create")
def user_create(
    handle: str,
    workspace: InWorkspace,
    email: Annotated[str, typer.Option(help="Email address, by which resolve-identity finds the user.")],
    name: Name = None,
    scopes: Scopes = "all",
    channel: Channels = None,
    no_general: NoGeneral = False,
    as_json: AsJson = False,
) -> None:
    """Make a user and their first API key, which is shown this once."""

    async def create(db: Database) -> admin.Identity:
        return await admin.create_identity(
            db,
            await admin.find_workspace(db, workspace),
            kind="user",
            handle=handle,
            name=name,
            email=email,
            scopes=scopes,
            channels=_joined(channel, no_general=no_general),
        )

    _show(_run(create), as_json=as_json)


@channels.command("create")
def channel_create(
    name: str,
    workspace: InWorkspace,
    private: Annotated[bool, typer.Option("--private", help="Private for life.")] = False,
    purpose: Annotated[str | None, typer.Option(help="What it is for, in one line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a channel."""

    async def create(db: Database) -> admin.Channel:
        found = await admin.find_workspace(db, workspace)
        return await admin.create_channel(db, found, name, private=private, purpose=purpose)

    _show(_run(create), as_json=as_json)


@channels.command("join")
def channel_join(
    name: str,
    handle: str,
    workspace: InWorkspace,
    role: Annotated[str, typer.Option(help="reader, poster or admin.")] = "poster",
    as_json: AsJson = False,
) -> None:
    """Make someone a member of a channel, or give them another role there."""

    async def join(db: Database) -> admin.Membership:
        return await admin.join_channel(
            db, await admin.find_workspace(db, workspace), name, handle, role=role
        )

    _show(_run(join), as_json=as_json)


@channels.command("members")
def channel_members(name: str, workspace: InWorkspace, as_json: AsJson = False) -> None:
    """List who is in a channel, and of whom is remembered that they left as a reader or were removed."""

    async def find(db: Database) -> list[admin.Member]:
        return await admin.list_members(db, await admin.find_workspace(db, workspace), name)

    _show(_run(find), as_json=as_json)


@channels.command("readmit")
def channel_readmit(name: str, handle: str, workspace: InWorkspace, as_json: AsJson = False) -> None:
    """Forget how someone left a channel, so that they may join it like anyone else."""

    async def readmit(db: Database) -> admin.Readmission:
        return await admin.readmit(db, await admin.find_workspace(db, workspace), name, handle)

    _show(_run(readmit), as_json=as_json)


@keys.command("create")
def key_create(
    handle: str,
    workspace: InWorkspace,
    scopes: Annotated[
        str | None, typer.Option(help="Scopes or a preset; those of the newest key unless told.")
    ] = None,
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days until it expires; never unless told.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make another API key for a user or agent; it is shown this once."""

    async def create(db: Database) -> admin.NewKey:
        found = await admin.find_workspace(db, workspace)
        return await admin.create_key(db, found, handle, scopes=scopes, expires_days=expires_days)

    _show(_run(create), as_json=as_json)


@keys.command("list")
def key_list(
    workspace: InWorkspace,
    handle: Annotated[str | None, typer.Argument(help="Only the keys of this user or agent.")] = None,
    as_json: AsJson = False,
) -> None:
    """List API keys: prefix, scopes, state, and when each was last used."""

    async def find(db: Database) -> list[admin.Key]:
        return await admin.list_keys(db, await admin.find_workspace(db, workspace), handle)

    _show(_run(find), as_json=as_json)


@keys.command("revoke")
def key_revoke(
    key: Annotated[str, typer.Argument(help="Id or visible prefix of the key.")],
    workspace: InWorkspace,
    as_json: AsJson = False,
) -> None:
    """Revoke an API key. Every server process refuses it within a second."""

    async def revoke(db: Database) -> admin.Key:
        return await admin.revoke_key(db, await admin.find_workspace(db, workspace), key)

    _show(_run(revoke), as_json=as_json)


@tokens.command("create")
def verify_token_create(handle: str, workspace: InWorkspace, as_json: AsJson = False) -> None:
    """Make a token that an agent echoes with verify-connection: once, within ten minutes."""

    async def create(db: Database) -> admin.VerifyToken:
        return await admin.create_verify_token(db, await admin.find_workspace(db, workspace), handle)

    _show(_run(create), as_json=as_json)


@schemas.command("plan")
def schema_plan(as_json: AsJson = False) -> None:
    """Show the migrations that a database still needs, and the commands that run them."""
    with borrowed(from_environment()) as found:
        state = _state(schema.plan(found.dsn))
    if as_json:
        print(msgspec.json.encode(state).decode())
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
    with borrowed(config) as found:
        state = schema.apply(
            found.dsn, phases or schema.PHASES, before=found.dump, pooler=config.database_pooler
        )
    files = [migration.path.name for leg in state.done for migration in leg.migrations]
    applied = SchemaApplied(
        applied=state.created or bool(state.done), files=files, **msgspec.structs.asdict(_state(state))
    )
    if as_json:
        print(msgspec.json.encode(applied).decode())
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
        print(msgspec.json.encode(state).decode())
    else:
        _tell(state)


class PostgresMoved(admin.Made):
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
            help="Directory of the programs of the Postgres that made the data; Debian's unless told."
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
        print(msgspec.json.encode(done).decode())
    elif moved is None:
        print("The installed Postgres made the data; there is nothing to do.")
    else:
        print(f"The data is in Postgres {moved.major} now. The old cluster is kept in {moved.kept}.")
        print("Once all is well: python -m app postgres discard-old")


class PostgresDiscarded(admin.Made):
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
        _fail("Nothing was deleted.")
    majors.discard_old(config.data_dir)
    _show(PostgresDiscarded(discarded=found), as_json=as_json)


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
                command=f"{schema.COMMAND} --{leg.phase}",
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. What an operator can mend is one line on stderr and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        " ".join(arguments).encode()
        cli(arguments, standalone_mode=False)
    except UnicodeEncodeError:
        _fail("The arguments are not valid UTF-8.")
    except typer.TyperException as e:
        if not (said := e.format_message().rstrip(".")):  # it has shown the help already
            raise SystemExit(1) from None
        _fail(f"{said}. Add --help to see what the command takes.")
    except (
        ApiError,
        BadSetting,
        EmbeddedPostgresError,
        schema.MalformedMigration,
        schema.MigrationFailed,
        schema.SchemaMismatch,
        Unreachable,
        schema.Unsuitable,
        OSError,
    ) as e:
        _fail(str(e))


def _fail(message: str) -> NoReturn:
    _say(f"baton: {' '.join(message.split())}", sys.stderr)
    raise SystemExit(1) from None


def _joined(channel: list[str] | None, *, no_general: bool) -> list[str]:
    return [*([] if no_general else [admin.GENERAL]), *(channel or [])]


def _run(work: Callable[[Database], Awaitable[T]]) -> T:
    """Run something on the database, wherever it is."""
    config = from_environment()

    async def run(dsn: str) -> T:
        db = Database(
            dsn,
            connections_max=2,
            statement_timeout_seconds=config.statement_timeout_seconds,
            pooler=config.database_pooler,
        )
        await db.open()
        try:
            return await work(db)
        finally:
            await db.close()

    with borrowed(config) as found:
        schema.ready(found.dsn)
        return asyncio.run(run(found.dsn))


def _show(made: admin.Made | Sequence[admin.Made], *, as_json: bool) -> None:
    if as_json:
        _say(msgspec.json.encode(made).decode())
        return
    for number, thing in enumerate(made if isinstance(made, Sequence) else [made]):
        if number:
            print()
        fields: dict[str, Json] = msgspec.to_builtins(thing)
        for key, value in fields.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else value
            _say(f"{key:14} {text}")


def _say(line: str, file: TextIO | None = None) -> None:
    """Print a line in which nothing that is stored moves the cursor, or turns the direction of what is read.

    What would is written as JSON writes it, so JSON stays what it says.
    """
    print(_UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line), file=file)


_UNPRINTABLE: Final = re.compile(f"[{CONTROL}\t\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
