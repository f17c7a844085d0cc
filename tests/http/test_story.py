"""The examples in the documents are what happens when their story is played."""

import httpx
import msgspec
import pytest

from app.documents.examples import COMMAND, RECORDING, Example
from tests.conftest import Server, World
from tests.http.playing import played


async def test_the_examples_are_what_happens(
    server: Server, workspace: World, pytestconfig: pytest.Config
) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        happened = written(await played(http, workspace))
    if pytestconfig.getoption("record"):
        RECORDING.write_text(happened)
    assert RECORDING.read_text() == happened, (
        f"docs/examples.json is stale. Run `{COMMAND}` and look at the difference."
    )


def written(examples: dict[str, Example]) -> str:
    """A recording, as it stands in the file."""
    return msgspec.json.format(msgspec.json.encode(examples), indent=1).decode() + "\n"
