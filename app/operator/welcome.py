"""The first start: what a database begins with, and what whoever starts the service is told of it."""

from collections.abc import Callable
from typing import Final

from app.config import Config
from app.db import Database
from app.operator.administration import first_start, never_entered
from app.operator.console import CONNECTIONS


async def prepare(config: Config, dsn: str) -> Callable[[str], str]:
    """Give a new database something to start with. What there is to tell depends on where the service will listen."""
    async with Database.from_config(config, dsn, connections_max=CONNECTIONS) as db:
        if (agent := await first_start(db)) is not None:
            return lambda url: _WELCOME.format(url=url, key=agent.api_key)
        if (newcomer := await never_entered(db)) is not None:
            handle, slug = newcomer
            return lambda url: _NO_KEY_USED.format(handle=handle, slug=slug)
        return lambda url: ""


_WELCOME: Final = """
Baton is new here. It made the workspace `default` with the channel #general, the user @human and the agent
@agent. This is the agent's API key; it is shown this once:

    {key}

Try it:

    curl -s {url}/v1/agent/create-task -H 'Authorization: Bearer {key}' \\
         -H 'Content-Type: application/json' -d '{{"title": "My first task"}}'

Lost it? `.venv/bin/python -m app key create agent --workspace default` makes another.
"""

_NO_KEY_USED: Final = (
    "No API key has been used here yet. If the first one is lost, make another: "
    ".venv/bin/python -m app key create {handle} --workspace {slug}"
)
