"""The commands on users and agents who are there already; the two are told apart by the word in front alone."""

from typing import Annotated

import typer

from app.db import Database
from app.operator import administration as admin
from app.operator.console import AsJson, InWorkspace, run, show
from app.types import IdentityKind

Handle = Annotated[str, typer.Argument(help="Handle, with or without `@`.")]


def add_to(cli: typer.Typer, kind: IdentityKind) -> None:
    """Add the commands on one of the two kinds."""
    someone = "an agent" if kind == "agent" else "a user"

    @cli.command("list", help=f"List the {kind}s: keys, claims, open tasks, and who was deactivated.")
    def _list(workspace: InWorkspace, as_json: AsJson = False) -> None:
        async def find(db: Database) -> list[admin.Person]:
            return await admin.list_people(db, await admin.find_workspace(db, workspace), kind)

        show(run(find), as_json=as_json)

    @cli.command("rename", help=f"Give {someone} another display name. The handle stays: texts say it.")
    def _rename(
        handle: Handle,
        name: Annotated[str, typer.Option("--name", help="The new display name.")],
        workspace: InWorkspace,
        as_json: AsJson = False,
    ) -> None:
        async def rename(db: Database) -> admin.Person:
            return await admin.rename(db, await admin.find_workspace(db, workspace), kind, handle, name)

        show(run(rename), as_json=as_json)

    @cli.command(
        "deactivate",
        help=f"Revoke the keys of {someone}, release the claims, and give them nothing new. The history stays.",
    )
    def _deactivate(handle: Handle, workspace: InWorkspace, as_json: AsJson = False) -> None:
        async def deactivate(db: Database) -> admin.Deactivation:
            return await admin.deactivate(db, await admin.find_workspace(db, workspace), kind, handle)

        show(run(deactivate), as_json=as_json)

    @cli.command("reactivate", help=f"Let {someone} take part again; then make a new key with `key create`.")
    def _reactivate(handle: Handle, workspace: InWorkspace, as_json: AsJson = False) -> None:
        async def reactivate(db: Database) -> admin.Person:
            return await admin.reactivate(db, await admin.find_workspace(db, workspace), kind, handle)

        show(run(reactivate), as_json=as_json)
