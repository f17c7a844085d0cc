"""A server seen from outside: what it wrote into postmaster.pid, its socket, and its process."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from app.embedded.role import DATABASE, ROLE

PORT: Final = 5432  # only a part of the socket's name, but given everywhere: PGPORT must not change it


class Postmaster(NamedTuple):
    """What a server says of itself in postmaster.pid."""

    pid: int
    socket_dir: str
    status: str


def read_postmaster(cluster: Path) -> Postmaster | None:
    """Read postmaster.pid, laid out like this since Postgres 10; None when no server has written it."""
    try:
        lines = [*(cluster / "postmaster.pid").read_bytes().splitlines(), *[b""] * 8]
        return Postmaster(
            pid=int(lines[0]), socket_dir=os.fsdecode(lines[4]), status=lines[7].decode().strip()
        )
    except (FileNotFoundError, ValueError):
        return None


def command_line(pid: int) -> str:
    """The words a process was started with, a blank after each; empty when there is no such process."""
    if sys.platform != "linux":
        ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(ps, capture_output=True, check=False, text=True).stdout.strip() + " "
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
    except OSError:
        return ""


def answers(socket_dir: str) -> bool:
    """Tell a running server from the postmaster.pid of a killed one."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(socket_path(socket_dir)) == 0


def socket_path(directory: str) -> str:
    """Where a server in this directory listens."""
    return f"{directory}/.s.PGSQL.{PORT}"


def dsn(socket_dir: str) -> str:
    """How to connect to a server that listens in this directory."""
    return f"host={socket_dir} port={PORT} user={ROLE} dbname={DATABASE}"
