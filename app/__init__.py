"""Baton: the task backend that AI agents share."""

import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

COMMAND: Final = (
    ".venv/bin/python -m app" if Path(sys.prefix) == Path(__file__).parents[1] / ".venv" else "python -m app"
)
"""How the operator runs a command here, from where README.md does: for messages that say what to do."""


@cache
def version() -> str:
    """The version of this checkout, from the one place where it stands."""
    return tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["version"]
