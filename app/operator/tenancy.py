"""The commands on a workspace as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from app import logs
from app.config import from_environment
from app.db import Database
from app.operator import administration as admin
from app.operator import export
from app.operator.console import AsJson, fail, run, show

Slug = Annotated[str, typer.Argument(help="Slug of the workspace.")]


def add_to(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command("list")(_list)
    cli.command("set-retention")(_set_retention)
    cli.command("export")(_export)
    cli.command("delete")(_delete)


def _list(as_json: AsJson = False) -> None:
    """List the workspaces, who is in them, and how long they keep what."""
    show(run(admin.list_workspaces), as_json=as_json)


def _set_retention(
    slug: Slug,
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=36_500,
            help="Remove what has been done with for this many days; everything is kept by default.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how long what is done with is kept. What is older is removed for good, little by little.

    Of tasks closed for so long: their history between the creation and the current version, ended runs but the last, and
    steps of runs. Revoked and expired keys, too. Tasks, comments and messages stay.
    """

    async def set_retention(db: Database) -> admin.Retention:
        return await admin.set_retention(db, await admin.find_workspace(db, slug), days)

    show(run(set_retention), as_json=as_json)


def _export(
    slug: Slug,
    file: Annotated[Path, typer.Argument(help="Where to write it; nothing may be there yet.")],
    as_json: AsJson = False,
) -> None:
    """Write all of a workspace to a file, as JSON lines, while the service goes on. No key in it lets anybody in."""
    logs.show_progress()
    made = export.write(from_environment(), slug, file)
    if as_json:
        show(made, as_json=True)
    else:
        print(f"{file} holds the {made.rows} rows of `{slug}`, in {made.bytes} bytes.")


def _delete(
    slug: Slug,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a workspace with all that is in it, while the service goes on. There is no way back but a backup."""

    async def look(db: Database) -> admin.Contents:
        return await admin.contents(db, await admin.find_workspace(db, slug))

    async def delete(db: Database) -> admin.Deleted:
        return await admin.delete_workspace(db, await admin.find_workspace(db, slug))

    if not yes:
        found = run(look)
        has = f"{found.users} users, {found.agents} agents, {found.channels} channels and {found.tasks} tasks"
        try:
            if not typer.confirm(f"Delete `{slug}` with its {has}? There is no way back.", err=True):
                fail("Nothing was deleted.")
        except typer.Abort:
            fail("Nothing was deleted. To delete it without being asked, add --yes.")
    logs.show_progress()
    show(run(delete), as_json=as_json)
