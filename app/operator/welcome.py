"""The first start: what a database begins with, and what whoever starts the service is told of it."""

from collections.abc import Callable
from typing import Final

import msgspec

from app import COMMAND
from app.config import Config
from app.db import Database, One, Query
from app.operator.console import CONNECTIONS
from app.operator.identities import Identity, create_identity
from app.operator.workspaces import create_workspace

LOCK: Final = 4_242_002  # advisory lock under which one of several starting servers fills an empty database


class Newcomer(msgspec.Struct):
    """Somebody who could come in, and where."""

    handle: str
    slug: str


ANY_WORKSPACE = Query(One[str], "SELECT slug FROM workspaces LIMIT 1", everywhere=True)


FIRST_START_LOCK = Query(
    One[str],
    "SELECT 'first start' FROM (SELECT pg_advisory_xact_lock(%(lock)s::bigint)) AS taken",
    everywhere=True,
)


NEVER_ENTERED = Query(
    Newcomer,
    """
    SELECT a.handle, w.slug
      FROM identities a
      JOIN workspaces w ON w.id = a.workspace_id
     WHERE NOT EXISTS (SELECT FROM api_keys k WHERE k.last_used_at IS NOT NULL)
     ORDER BY a.kind, a.id
     LIMIT 1
    """,
    everywhere=True,
)


async def prepare(config: Config, dsn: str) -> Callable[[str], str]:
    """Give a new database something to start with. What there is to tell depends on where the service will listen."""
    async with Database.from_config(config, dsn, connections_max=CONNECTIONS) as db:
        if (agent := await first_start(db)) is not None:
            return lambda url: _WELCOME.format(url=url, key=agent.api_key, command=_command(config))
        if (newcomer := await never_entered(db)) is not None:
            return lambda url: _NO_KEY_USED.format(
                command=_command(config), handle=newcomer.handle, slug=newcomer.slug
            )
        return lambda url: ""


def _command(config: Config) -> str:
    """How a command is called that is to find the same database. A DATABASE_URL may hold a password, which is not said."""
    if config.database_url:
        return f"DATABASE_URL=… {COMMAND}"
    return COMMAND if config.data_dir == Config().data_dir else f"DATA_DIR={config.data_dir} {COMMAND}"


async def first_start(db: Database) -> Identity | None:
    """Give a database without a workspace one, with a human and an agent, so that there is something to start with.

    All of it or nothing, and only one of several starting servers: the answer is the agent, with its key, or None.
    """
    async with db.transaction() as tx:
        await tx.one(FIRST_START_LOCK, lock=LOCK)
        if await tx.one(ANY_WORKSPACE):
            return None
        workspace = await create_workspace(tx, "default", name="Default")
        await create_identity(tx, workspace, kind="user", handle="human", name="Human")
        return await create_identity(tx, workspace, kind="agent", handle="agent", name="Agent", owner="human")


async def never_entered(db: Database) -> Newcomer | None:
    """While no key was ever used, somebody who has one, and their workspace.

    A start can be killed when it has made the first key and before it was shown.
    """
    return await db.one(NEVER_ENTERED)


_WELCOME: Final = """
Baton is new here. It made the workspace `default` with the channel #general, the user @human and the agent
@agent. This is the agent's API key; it is shown this once:

    {key}

Try it:

    curl -s {url}/v1/agent/create-task -H 'Authorization: Bearer {key}' \\
         -H 'Content-Type: application/json' -d '{{"title": "My first task"}}'

Lost it? `{command} key create agent --workspace default` makes another.
"""

_NO_KEY_USED: Final = (
    "No API key has been used here yet. If the first one is lost, make another: "
    "{command} key create {handle} --workspace {slug}"
)
