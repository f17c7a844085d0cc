"""Two server processes on one database, whose clocks are an hour apart: the order is the database's all the same."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.conftest import Caller, Server, World

LIBRARIES: Final = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/faketime/libfaketimeMT.so.1"),
)

AN_HOUR_AHEAD: Final = """
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + 3600
time.time_ns = lambda: _time_ns() + 3600 * 10**9
import uuid_utils.compat as ids
_uuid7 = ids.uuid7
ids.uuid7 = lambda *given: _uuid7(*given) if given else _uuid7(int(time.time()), time.time_ns() % 10**9)
"""


def fast_clock(directory: Path) -> dict[str, str]:
    """Settings of a process whose clock is an hour ahead."""
    if (library := next((path for path in LIBRARIES if path.exists()), None)) is not None:
        return {"LD_PRELOAD": str(library), "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    print("\nlibfaketime is MISSING (Debian: libfaketime): only the clock that Python sees is put forward")
    (directory / "sitecustomize.py").write_text(AN_HOUR_AHEAD)
    return {"PYTHONPATH": os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture(scope="module")
def fast(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clock is an hour ahead, beside `server`, whose clock is right."""
    fast = Server(dsn, **fast_clock(tmp_path_factory.mktemp("clock")))
    yield fast
    fast.stop()
    fast.close()


class Both:
    """One caller of both servers."""

    def __init__(self, fast: Server, right: Server, caller: Caller) -> None:
        self._clients = {
            "fast": httpx.Client(base_url=fast.url, headers=caller.headers, timeout=30),
            "right": httpx.Client(base_url=right.url, headers=caller.headers, timeout=30),
        }

    def __call__(self, clock: str, operation: str, **fields: Any) -> Any:
        return self.whole(clock, operation, **fields)["data"]

    def whole(self, clock: str, operation: str, **fields: Any) -> Any:
        answer = self._clients[clock].post(f"/v1/agent/{operation}", json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


IN_TURN: Final = ("fast", "right", "right", "fast", "right")


async def both_of(fast: Server, server: Server, workspace: World) -> Both:
    return Both(fast, server, await workspace.agent())


async def test_tasks_are_listed_in_the_order_of_their_numbers(
    fast: Server, server: Server, workspace: World
) -> None:
    both = await both_of(fast, server, workspace)
    for number, clock in enumerate(IN_TURN):
        both(clock, "create-task", title=str(number))
    both("fast", "create-tasks-bulk", tasks=[{"title": "5"}, {"title": "6"}])
    both("right", "create-task", title="7")
    for clock in ("fast", "right"):
        assert [task["title"] for task in both(clock, "list-tasks")] == list("76543210")
        assert [claimable["title"] for claimable in both(clock, "list-ready-tasks")] == list("01234567")
    page = both.whole("right", "list-tasks", limit=3)
    rest = both("fast", "list-tasks", cursor=page["meta"]["pagination"]["cursor"])
    assert [task["title"] for task in rest] == list("43210")
    both.close()


async def test_whoever_reads_on_from_a_comment_misses_none_that_came_later(
    fast: Server, server: Server, workspace: World
) -> None:
    both = await both_of(fast, server, workspace)
    task = both("right", "create-task", title="x")["id"]
    last: str | None = None
    for number, clock in enumerate(IN_TURN):
        both(clock, "comment-on-task", taskId=task, body=str(number))
        new = both("right", "list-comments", taskId=task, **({"cursor": last} if last else {}))
        assert [comment["body"] for comment in new] == [str(number)]
        last = new[-1]["id"]
    assert [comment["body"] for comment in both("fast", "list-comments", taskId=task)] == list("01234")
    both.close()


async def test_history_tells_remarks_and_links_in_the_order_in_which_they_were_made(
    fast: Server, server: Server, workspace: World
) -> None:
    both = await both_of(fast, server, workspace)
    task, other = (both("right", "create-task", title=title)["id"] for title in "ab")
    both("fast", "link-tasks", taskId=task, kind="related", otherTaskId=other)
    both("right", "comment-on-task", taskId=task, body="0")
    both("fast", "comment-on-task", taskId=task, body="1")
    both("right", "unlink-tasks", taskId=task, kind="related", otherTaskId=other)
    both("right", "block-task", taskId=task, reason="2")
    entries = both("right", "list-task-history", taskId=task, order="oldest")
    assert [entry["kind"] for entry in entries] == [
        "created", "linked", "commented", "commented", "unlinked", "blocked", "commented",
    ]  # fmt: skip
    newest = both("fast", "list-task-history", taskId=task)
    assert newest == entries[::-1]
    both.close()


async def test_runs_are_listed_newest_first(fast: Server, server: Server, workspace: World) -> None:
    both = await both_of(fast, server, workspace)
    task = both("right", "create-task", title="x")["id"]
    made: list[str] = []
    for clock in IN_TURN:
        [claim] = both(clock, "claim-next-task")
        made.append(claim["run"]["id"])
        both(clock, "release-run", runId=made[-1], handoff=clock)
    held = both("right", "claim-task", taskId=task)
    made.append(held["run"]["id"])
    assert held["run"]["attempt"] == len(made)
    assert [run["attempt"] for run in held["previousRuns"]] == [5, 4, 3]
    assert [run["id"] for run in both("fast", "list-runs", taskId=task)] == made[::-1]
    both.close()
