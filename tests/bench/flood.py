"""One key that floods the service with everything it may, from a workspace of its own."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.config import Config
from app.db import Database
from app.operator import administration as admin
from tests.bench.load import Failed

SCRIPT: Final = Path(__file__).parent / "flood.lua"
CONNECTIONS: Final = 64


def new_flooder(dsn: str, name: str) -> str:
    """The key of an agent who may ask for as much as a key may by default."""
    return asyncio.run(_new_flooder(dsn, name))


async def _new_flooder(dsn: str, name: str) -> str:
    usual = Config()
    async with Database(dsn, connections_max=2, statement_timeout_seconds=10, pooler=False) as db:
        workspace = await admin.create_workspace(db, name)
        agent = await admin.create_identity(db, workspace, kind="agent", handle="flooder")
        await admin.limit_key(
            db, workspace, str(agent.key_id), usual.rate_limit_key_per_second, usual.rate_limit_key_burst
        )
        return agent.api_key


@contextmanager
def flooding(url: str, key: str, seconds: int) -> Generator[None]:
    """The flood, from before the block to behind it. Raises Failed unless some of it was refused."""
    program = shutil.which("wrk")
    assert program is not None, "checked before anything starts"
    command = [program, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"-s{SCRIPT}", f"{url}/", "--", key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield
            output, _ = process.communicate()
        finally:
            process.kill()
    if not re.search(r"Non-2xx or 3xx responses: \d+", output):
        message = f"nothing of the flood was refused:\n{output}"
        raise Failed(message)
