"""A disk that is full: callers and the log are told so, and when there is room again all is well without a restart."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.installation import Installation, eventually

DISK = "128m"  # a cluster, the first segments of its log, and some room
FILL_BYTES = 1024 * 1024
CALLS_MAX = 500


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of our own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0755", "baton-test", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def fill(file: Path) -> None:
    """Write until there is no room, for single bytes neither."""
    with file.open("wb", buffering=0) as filling:
        for size in (FILL_BYTES, 4096, 1):
            try:
                while True:
                    filling.write(bytes(size))
            except OSError:
                pass


def test_a_full_disk_is_said_to_callers_and_in_the_log_and_passes_when_there_is_room(disk: Path) -> None:
    installation = Installation(disk / "data")
    with installation.serving() as server:
        key = installation.ask("key", "create", "agent", "--workspace", "default")["apiKey"]
        with httpx.Client(
            base_url=f"{server.url}/v1/agent", headers={"Authorization": f"Bearer {key}"}
        ) as client:

            def write() -> httpx.Response:
                body = {"title": "Another", "description": os.urandom(3000).hex()}
                return client.post("/create-task", json=body)

            assert write().status_code == 200
            fill(disk / "filling")
            refused = next(answer for _ in range(CALLS_MAX) if (answer := write()).status_code != 200)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (503, "upstream_unavailable")
            assert "no space left on its disk" in error["message"]
            assert client.get("/list-tasks").status_code == 200, "reading still works"
            eventually(lambda: "No space left on device" in server.stderr())

            (disk / "filling").unlink()
            eventually(lambda: write().status_code == 200)
