"""Turns: no workspace and no caller gets all, who waits is served in turn, and nothing is lost on the way."""

import asyncio
from contextlib import AsyncExitStack, suppress
from uuid import UUID

import pytest

from app.db import turns
from app.db.turns import Turns, Whose
from app.errors import Overloaded

A, B, C = (UUID(int=number) for number in (1, 2, 3))
TURNS = 4


def caller(workspace: UUID, number: int = 1) -> Whose:
    return Whose(workspace, UUID(int=100 + number))


async def settled() -> None:
    """Let everyone run who can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Work:
    """Statements under way, each until it is told to end."""

    def __init__(self, count: int = TURNS) -> None:
        self.turns = Turns(count)
        self.under_way: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def begins(self, name: str, whose: Whose | None) -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = task = asyncio.create_task(self._run(name, whose))
        task.add_done_callback(
            lambda task: task.cancelled() or task.exception()
        )  # which a test may want, or not

    async def ends(self, name: str) -> None:
        self._ends[name].set()
        await settled()

    async def _run(self, name: str, whose: Whose | None) -> None:
        async with self.turns.taken(whose):
            self.under_way.append(name)
            await self._ends[name].wait()
            self.under_way.remove(name)


async def test_one_caller_gets_half_and_one_workspace_leaves_one() -> None:
    work = Work()
    for number in range(8):
        work.begins(f"first {number}", caller(B, 1))
    await settled()
    assert work.under_way == ["first 0", "first 1"]
    for number in range(8):
        work.begins(f"second {number}", caller(B, 2))
    await settled()
    assert work.under_way == ["first 0", "first 1", "second 0"]
    work.begins("other", caller(A))
    await settled()
    assert work.under_way[-1] == "other"


async def test_what_is_nobodys_never_waits() -> None:
    work = Work(1)
    for number in range(3):
        work.begins(f"b {number}", caller(B))
        work.begins(f"own {number}", None)
    await settled()
    assert sorted(work.under_way) == ["b 0", "own 0", "own 1", "own 2"]


async def test_workspaces_and_in_them_callers_are_served_in_turn() -> None:
    work = Work(1)
    work.begins("now", caller(C))
    await settled()
    for number in range(3):
        for who in (1, 2):
            work.begins(f"b{who} {number}", caller(B, who))
    work.begins("a1 0", caller(A))
    order = ["now"]
    await settled()
    while work.under_way:
        await work.ends(work.under_way[0])
        order += work.under_way
    assert order == ["now", "b1 0", "a1 0", "b2 0", "b1 1", "b2 1", "b1 2", "b2 2"]
    assert work.turns.waiting == 0


async def test_a_caller_who_goes_away_leaves_the_line_or_passes_the_turn_on() -> None:
    work = Work(1)
    for name in ("first", "second", "third", "fourth"):
        work.begins(name, caller(B))
    await settled()
    work.tasks["second"].cancel()  # while it is in line
    await settled()
    work._ends["first"].set()
    await asyncio.sleep(0)  # the third has been called and has not heard of it yet
    work.tasks["third"].cancel()
    await settled()
    assert work.under_way == ["fourth"]
    await work.ends("fourth")
    work.begins("last", caller(B))
    await settled()
    assert work.under_way == ["last"]


async def test_who_waits_too_long_or_in_too_long_a_line_hears_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "CALLER_WAITING_MAX", 2)
    work = Work(1)
    work.begins("now", caller(B))
    await settled()
    for name in ("second", "third"):
        work.begins(name, caller(B))
    await settled()
    with pytest.raises(Overloaded):
        async with work.turns.taken(caller(B)):
            pass
    monkeypatch.setattr(turns, "WAIT_SECONDS_MAX", 0)
    with pytest.raises(Overloaded):
        async with work.turns.taken(caller(A)):
            pass
    assert work.turns.waiting == 2
    for task in work.tasks.values():
        task.cancel()
    for task in work.tasks.values():
        with suppress(asyncio.CancelledError):
            await task


async def test_a_failure_gives_the_turn_back() -> None:
    shared = Turns(1)
    for _ in range(3):
        with suppress(ZeroDivisionError):
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(shared.taken(caller(A)))
                raise ZeroDivisionError
    async with shared.taken(caller(A)):
        pass
