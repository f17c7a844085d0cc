"""Baton: the task backend that AI agents share."""

import tomllib
from functools import cache
from pathlib import Path


@cache
def version() -> str:
    """The version of this checkout, from the one place where it stands."""
    return tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["version"]
