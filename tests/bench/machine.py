"""What the numbers were measured on, and with what."""

import json
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

from app.embedded import find_binaries
from tests.bench.servers import NODE_MODULES, PEER_PYTHON, PEERS

OURS: Final = ("starlette", "uvicorn", "uvloop", "msgspec", "psycopg")
THEIRS: Final = (
    "fastapi", "pydantic", "SQLAlchemy", "asyncpg", "Django", "djangorestframework", "gunicorn", "fastify", "pg",
)  # fmt: skip
LOAD_AVERAGE: Final = "load average before"


def machine() -> dict[str, str]:
    """Facts by name: the machine first, then versions."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cpu = _found(r"^model name\s*: (.+)$", _read("/proc/cpuinfo")) or platform.processor()
    system = _found(r'^PRETTY_NAME="?([^"\n]+)', _read("/etc/os-release")) or platform.system()
    theirs = _pinned()
    return {
        "cpu": f"{os.cpu_count()} cores, {cpu}",
        "memory": f"{memory_bytes / 2**30:.0f} GiB",
        "system": f"{system}, {platform.system()} {_found(r'^([0-9.]+)', platform.release())}",
        LOAD_AVERAGE: " ".join(f"{n:.2f}" for n in os.getloadavg()),
        "CPython": platform.python_version(),
        "PostgreSQL": _found(r"([0-9.]+)", _said(str(find_binaries() / "postgres"), "--version")),
        "wrk": _found(r"([0-9.]+)", _said("wrk", "-v")),
        **{name: version(name) for name in OURS},
        **({"Node.js": _found(r"([0-9.]+)", _said("node", "--version"))} if NODE_MODULES.exists() else {}),
        **{name: theirs[name] for name in THEIRS if name in theirs},
    }


def _pinned() -> dict[str, str]:
    """Versions of the peers' packages, of those that are installed."""
    found: dict[str, str] = {}
    if PEER_PYTHON.exists():
        found |= dict(
            re.findall(r"^([\w.-]+)==(\S+)$", (PEERS / "requirements.txt").read_text(), re.MULTILINE)
        )
    if NODE_MODULES.exists():
        found |= json.loads((PEERS / "package.json").read_text())["dependencies"]
    return found


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match is not None else ""


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout + done.stderr
