"""The operator's interface: `python -m app COMMAND`, for people, and with `--json` for machines.

Every command works while the server runs and when it does not: with DATABASE_URL it talks to that database,
otherwise it borrows the running embedded Postgres or starts it for as long as it takes.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from app import version
from app.config import RATE_MAX, BadSetting, from_environment
from app.db import Database, Unreachable, schema
from app.embedded import EmbeddedPostgresError
from app.errors import ApiError
from app.operator import administration as admin
from app.operator import backups, staff, tenancy, upkeep, welcome
from app.operator.console import AsJson, InWorkspace, fail, run, show

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
cli.add_typer(workspaces, name="workspace")
cli.add_typer(agents, name="agent")
cli.add_typer(users, name="user")
cli.add_typer(channels, name="channel")
cli.add_typer(keys, name="key")
cli.add_typer(tokens, name="verify-token")
cli.add_typer(upkeep.schemas, name="schema")
cli.add_typer(upkeep.clusters, name="postgres")
cli.command("backup")(upkeep.backup)
cli.command("restore")(upkeep.restore)
cli.command("log-level")(upkeep.log_level)
cli.command("doctor")(upkeep.examine)


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


Name = Annotated[str | None, typer.Option("--name", help="Display name; by default the handle.")]
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


@cli.command()
def serve() -> None:
    """Run the service until Ctrl-C or SIGTERM."""
    config = from_environment()  # first: a bad setting is named at once
    from app.server import serve as server  # noqa: PLC0415 - all of Baton, a second that other commands do without

    server.serve(config, welcome.prepare)


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
    show(run(lambda db: admin.create_workspace(db, slug, name=name), creates=True), as_json=as_json)


@workspaces.command("set-history")
def workspace_set_history(
    slug: str,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=36_500, help="Show messages of this many days; all of them by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how far back messages can be read. Older ones are kept, and counted, but not shown."""

    async def set_history(db: Database) -> admin.History:
        return await admin.set_history(db, await admin.find_workspace(db, slug), days)

    show(run(set_history), as_json=as_json)


tenancy.add_to(workspaces)


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
            help="Show it only to its owner, the owner's agents, and those in a channel with it. It joins none by default.",
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

    show(run(create), as_json=as_json)


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

    show(run(create), as_json=as_json)


staff.add_to(agents, "agent")
staff.add_to(users, "user")


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

    show(run(create), as_json=as_json)


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

    show(run(join), as_json=as_json)


@channels.command("members")
def channel_members(name: str, workspace: InWorkspace, as_json: AsJson = False) -> None:
    """List who is in a channel, and of whom is remembered that they left as a reader or were removed."""

    async def find(db: Database) -> list[admin.Member]:
        return await admin.list_members(db, await admin.find_workspace(db, workspace), name)

    show(run(find), as_json=as_json)


@channels.command("readmit")
def channel_readmit(name: str, handle: str, workspace: InWorkspace, as_json: AsJson = False) -> None:
    """Forget how someone left a channel, so that they may join it like anyone else."""

    async def readmit(db: Database) -> admin.Readmission:
        return await admin.readmit(db, await admin.find_workspace(db, workspace), name, handle)

    show(run(readmit), as_json=as_json)


@keys.command("create")
def key_create(
    handle: str,
    workspace: InWorkspace,
    scopes: Annotated[
        str | None, typer.Option(help="Scopes or a preset; by default those of the newest key.")
    ] = None,
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days until it expires; never by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make another API key for a user or agent; it is shown this once."""

    async def create(db: Database) -> admin.NewKey:
        found = await admin.find_workspace(db, workspace)
        return await admin.create_key(db, found, handle, scopes=scopes, expires_days=expires_days)

    show(run(create), as_json=as_json)


@keys.command("list")
def key_list(
    workspace: InWorkspace,
    handle: Annotated[str | None, typer.Argument(help="Only the keys of this user or agent.")] = None,
    as_json: AsJson = False,
) -> None:
    """List API keys: prefix, scopes, state, and when each was last used."""

    async def find(db: Database) -> list[admin.Key]:
        return await admin.list_keys(db, await admin.find_workspace(db, workspace), handle)

    show(run(find), as_json=as_json)


@keys.command("revoke")
def key_revoke(
    key: Annotated[str, typer.Argument(help="Id or visible prefix of the key.")],
    workspace: InWorkspace,
    as_json: AsJson = False,
) -> None:
    """Revoke an API key. Every server process refuses it within a second."""

    async def revoke(db: Database) -> admin.Key:
        return await admin.revoke_key(db, await admin.find_workspace(db, workspace), key)

    show(run(revoke), as_json=as_json)


@keys.command("limit")
def key_limit(
    key: Annotated[str, typer.Argument(help="Id or visible prefix of the key.")],
    workspace: InWorkspace,
    per_second: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=RATE_MAX,
            help="What it may ask for each second, 0 for no limit; by default what the settings say.",
        ),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            min=1, max=RATE_MAX, help="What it may ask for at once; by default that of ten seconds."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how much a key may ask for. Every server process knows within a second. See docs/operating/limits.md."""

    async def limit(db: Database) -> admin.Key:
        found = await admin.find_workspace(db, workspace)
        return await admin.limit_key(db, found, key, per_second, burst)

    show(run(limit), as_json=as_json)


@tokens.command("create")
def verify_token_create(handle: str, workspace: InWorkspace, as_json: AsJson = False) -> None:
    """Make a token that an agent echoes with verify-connection: once, within ten minutes."""

    async def create(db: Database) -> admin.VerifyToken:
        return await admin.create_verify_token(db, await admin.find_workspace(db, workspace), handle)

    show(run(create), as_json=as_json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. What an operator can fix is one line on stderr and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        " ".join(arguments).encode()
        cli(arguments, standalone_mode=False)
    except UnicodeEncodeError:
        fail("The arguments are not valid UTF-8.")
    except typer.Abort:
        fail("Nothing was done: somebody at a terminal has to say yes. --yes does without.")
    except typer.TyperException as e:
        if not (said := e.format_message().rstrip(".")):  # it has shown the help already
            raise SystemExit(1) from None
        fail(f"{said}. Add --help to see what the command takes.")
    except (
        ApiError,
        backups.BackupFailed,
        BadSetting,
        EmbeddedPostgresError,
        schema.MalformedMigration,
        schema.MigrationFailed,
        schema.SchemaMismatch,
        Unreachable,
        schema.Unsuitable,
    ) as e:
        fail(str(e))
    except OSError as e:
        fail(f"{e.filename}: {e.strerror}." if e.filename and e.strerror else str(e))


def _joined(channel: list[str] | None, *, no_general: bool) -> list[str]:
    return [*([] if no_general else [admin.GENERAL]), *(channel or [])]
