"""What every client here is given: where Baton is, with which key, and where its model answers."""

import json
import os
from importlib.metadata import version
from typing import Any, NoReturn

CORE = f"{os.environ['BATON_URL']}/mcp?tools=core"
ALL = f"{os.environ['BATON_URL']}/mcp"
HEADERS = {"Authorization": f"Bearer {os.environ['BATON_API_KEY']}"}
MODEL_URL = os.environ["MODEL_URL"]
MODEL = "gpt-4o"  # a name that frameworks know; the stub answers to any
TASK = "Do what is to be done."
os.environ["OPENAI_API_KEY"] = "none"
os.environ["OPENAI_BASE_URL"] = os.environ["OPENAI_API_BASE"] = MODEL_URL


def done(package: str, **facts: Any) -> None:
    """Say what was found, as the last line."""
    print(json.dumps({"package": package, "version": version(package), **facts}))


def fail(why: str) -> NoReturn:
    """End, because the framework did otherwise than it should."""
    raise SystemExit(why)
