"""Workspaces: each is a world of its own."""

from uuid import UUID

from app.db import Command, Database, Query, Transaction
from app.db.phrases import moment
from app.errors import AlreadyExists, NotFound
from app.ids import new_id
from app.operator.names import Made, check_name, check_text
from app.types import Timestamp


class Workspace(Made):
    """A workspace."""

    id: UUID
    slug: str
    name: str
    created_at: Timestamp


class History(Made):
    """How far back the messages of a workspace can be read."""

    workspace_slug: str
    history_days: int | None


class Retention(Made):
    """How long a workspace keeps what is done with."""

    workspace_slug: str
    retention_days: int | None


class Tenancy(Made):
    """A workspace, who is in it, and how long it keeps and shows what."""

    id: UUID
    slug: str
    name: str
    users: int
    agents: int
    tasks: int
    history_days: int | None
    retention_days: int | None
    created_at: Timestamp


CREATE_WORKSPACE = Command(
    Workspace,
    f"""
    WITH created AS (
        INSERT INTO workspaces (id, slug, name) VALUES (%(id)s, %(slug)s, %(name)s)
        ON CONFLICT ON CONSTRAINT workspaces_slug_key DO NOTHING
        RETURNING *
    ), counter AS (
        INSERT INTO task_counters (workspace_id) SELECT id FROM created
    ), general AS (
        INSERT INTO channels (workspace_id, id, name) SELECT id, %(channel_id)s, 'general' FROM created
    )
    SELECT id, slug, name, {moment("created_at")} FROM created
    """,
    everywhere=True,
)


FIND_WORKSPACE = Query(
    Workspace,
    f"""
    SELECT id, slug, name, {moment("created_at")} FROM workspaces WHERE slug = %(slug)s
    """,
    everywhere=True,
)


LIST_WORKSPACES = Query(
    Tenancy,
    f"""
    SELECT w.id, w.slug, w.name,
           (SELECT count(*) FROM identities a
             WHERE a.workspace_id = w.id AND a.kind = 'user' AND a.deactivated_at IS NULL)::int,
           (SELECT count(*) FROM identities a
             WHERE a.workspace_id = w.id AND a.kind = 'agent' AND a.deactivated_at IS NULL)::int,
           coalesce((SELECT n.last_number FROM task_counters n WHERE n.workspace_id = w.id), 0),
           w.history_days, w.retention_days, {moment("w.created_at")}
      FROM workspaces w
     ORDER BY w.slug
    """,
    everywhere=True,
)


SET_HISTORY = Command(
    History,
    """
    UPDATE workspaces SET history_days = %(days)s::int WHERE id = %(workspace_id)s RETURNING slug, history_days
    """,
)


SET_RETENTION = Command(
    Retention,
    """
    UPDATE workspaces SET retention_days = %(days)s::int WHERE id = %(workspace_id)s RETURNING slug, retention_days
    """,
)


async def create_workspace(db: Database | Transaction, slug: str, *, name: str | None = None) -> Workspace:
    """Make a workspace with its #general."""
    check_name("slug", slug)
    check_text("name", name)
    made = await db.one(CREATE_WORKSPACE, id=new_id(), slug=slug, name=name or slug, channel_id=new_id())
    if made is None:
        raise AlreadyExists("workspace", slug)
    return made


async def find_workspace(db: Database, slug: str) -> Workspace:
    """The workspace with this slug."""
    found = await db.one(FIND_WORKSPACE, slug=slug)
    if found is None:
        message = f"There is no workspace `{slug}`. Make it with `workspace create {slug}`."
        raise NotFound(message)
    return found


async def list_workspaces(db: Database) -> list[Tenancy]:
    """All workspaces, by slug."""
    return await db.all(LIST_WORKSPACES)


async def set_history(db: Database, workspace: Workspace, days: int | None) -> History:
    """Hide messages older than this many days from everyone; None shows all. They are kept in any case."""
    set_to = await db.one(SET_HISTORY, workspace_id=workspace.id, days=days)
    if set_to is None:
        raise _gone(workspace.slug)
    return set_to


async def set_retention(db: Database, workspace: Workspace, days: int | None) -> Retention:
    """Remove what is done with for this many days, see app/jobs/retention.py; None keeps everything from now on."""
    set_to = await db.one(SET_RETENTION, workspace_id=workspace.id, days=days)
    if set_to is None:
        raise _gone(workspace.slug)
    return set_to


def _gone(slug: str) -> NotFound:
    """The workspace was deleted since it was found."""
    return NotFound(f"There is no workspace `{slug}` any more.")
