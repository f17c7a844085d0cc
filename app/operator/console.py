"""How a command reaches the database, and how it says what came of it."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final, NoReturn, TextIO, TypeVar

import msgspec
import typer

from app.config import from_environment
from app.database_url import borrowed
from app.db import Database, schema
from app.decoding import Json
from app.operator.names import Made
from app.types import CONTROL

T = TypeVar("T")

CONNECTIONS: Final = 2  # of a command, in its pool

InWorkspace = Annotated[str, typer.Option("--workspace", help="Slug of the workspace.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def fail(message: str) -> NoReturn:
    """Say in one line what is wrong, and end with status 1."""
    say(f"baton: {' '.join(message.split())}", sys.stderr)
    raise SystemExit(1) from None


def run(work: Callable[[Database], Awaitable[T]], *, creates: bool = False) -> T:
    """Run something on the database, wherever it is; `creates` says that it may be the first there."""
    config = from_environment()

    async def at(dsn: str) -> T:
        async with Database.from_config(config, dsn, connections_max=CONNECTIONS) as db:
            return await work(db)

    with borrowed(config, creates=creates) as found:
        schema.ready(found.dsn)
        return asyncio.run(at(found.dsn))


def show(made: Made | Sequence[Made], *, as_json: bool) -> None:
    """Print what was made or found: a line for each field, or all of it as JSON."""
    if as_json:
        say(msgspec.json.encode(made).decode())
        return
    for number, thing in enumerate(made if isinstance(made, Sequence) else [made]):
        if number:
            print()
        fields: dict[str, Json] = msgspec.to_builtins(thing)
        for key, value in fields.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else value
            say(f"{key:14} {text}")


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line in which nothing that is stored moves the cursor, or turns the direction of what is read.

    What would is written as JSON writes it, so JSON stays what it says.
    """
    print(_UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line), file=file)


_UNPRINTABLE: Final = re.compile(f"[{CONTROL}\t\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
