"""docs/team.py: two agents and a human finish a small project with nothing but the published SDK."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import Server, World

DOCS = Path(__file__).parents[2] / "docs"


async def test_the_transcript_is_what_happens(server: Server, workspace: World) -> None:
    ada = await workspace.user("ada", name="Ada")
    pia, ben = await workspace.agent("pia", name="Pia", owner="ada"), await workspace.agent("ben", name="Ben")
    await workspace.channel("launch", ada, pia, ben)
    keys = {member.handle.upper(): member.api_key for member in (ada, pia, ben)}
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, DOCS / "team.py"],
        env={**os.environ, **keys, "BATON": server.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == (DOCS / "team.txt").read_text()
