"""list-my-tasks: the queue of whoever asks: open before closed, most urgent first, then oldest."""

import asyncio
import itertools
from typing import Any, Final
from uuid import uuid4

import pytest

from app.errors import InvalidInput
from app.operations import create_task, create_tasks_bulk, list_my_tasks, release_task, update_task
from tests.conftest import Caller, World

STATUSES: Final = ["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done", "cancelled"]
PRIORITIES: Final = ["none", "low", "medium", "high", "urgent"]


async def every_kind(bot: Caller) -> list[Any]:
    """One task of mine for every status and priority, twice, in the order in which they were created."""
    rows = [
        {"title": "x", "priority": priority, "assigneeAgentId": bot.id}
        for priority in PRIORITIES
        for _ in STATUSES
    ]
    tasks = [*await bot(create_tasks_bulk, tasks=rows), *await bot(create_tasks_bulk, tasks=rows)]
    return await asyncio.gather(
        *(
            bot(update_task, task_id=task.id, version=1, status=status)
            for task, status in zip(tasks, itertools.cycle(STATUSES), strict=False)
        )
    )


def in_order(tasks: list[Any]) -> list[str]:
    """What the queue must look like."""

    def rank(task: Any) -> tuple[bool, int, str]:
        return task.status in {"done", "cancelled"}, -PRIORITIES.index(task.priority), task.id

    return [task.identifier for task in sorted(tasks, key=rank)]


def identifiers(page: list[Any]) -> list[str]:
    return [task.identifier for task in page]


async def test_the_most_urgent_open_task_comes_first_and_closed_ones_last(workspace: World) -> None:
    bot = await workspace.agent()
    tasks = await every_kind(bot)
    page = await bot(list_my_tasks, limit=100)
    assert identifiers(page) == in_order(tasks)
    assert (len(page), page.has_more, page.cursor) == (80, False, None)


@pytest.mark.parametrize("limit", [1, 7, 40])
async def test_pages_neither_skip_nor_repeat(workspace: World, limit: int) -> None:
    bot = await workspace.agent()
    tasks = await every_kind(bot)
    seen: list[str] = []
    cursor, more = None, True
    while more:
        page = await bot(list_my_tasks, limit=limit, cursor=cursor, include_total=True)
        assert page.total == 80
        seen += identifiers(page)
        assert len(seen) <= 80, "it repeats itself"
        cursor, more = page.cursor, page.has_more
    assert seen == in_order(tasks)


async def test_statuses_filter(workspace: World) -> None:
    bot = await workspace.agent()
    tasks = await every_kind(bot)
    asked: list[str | list[str]] = [
        *STATUSES,
        "open",
        ["done", "todo"],
        ["open", "cancelled"],
        ["done", "cancelled"],
        [],
    ]
    for status in asked:
        wanted = set(STATUSES) if not status else {status} if isinstance(status, str) else set(status)
        if "open" in wanted:
            wanted |= set(STATUSES) - {"done", "cancelled"}
        matching = [task for task in tasks if task.status in wanted]
        page = await bot(list_my_tasks, status=status, limit=100, include_total=True)
        assert identifiers(page) == in_order(matching), status
        assert page.total == len(matching)


async def test_only_tasks_assigned_to_the_caller_come(workspace: World, other_workspace: World) -> None:
    ada = await workspace.user("ada")
    bot, helper = await workspace.agent("bot", owner="ada"), await workspace.agent("helper")
    mine = await helper(create_task, title="mine", assignee_agent_id=bot.id)
    await bot(create_task, title="created by me only")
    await bot(create_task, title="somebody else's", assignee_agent_id=helper.id)
    hers = await bot(create_task, title="hers", assignee_user_id=ada.id)
    assert identifiers(await bot(list_my_tasks)) == [mine.identifier]
    assert identifiers(await ada(list_my_tasks)) == [hers.identifier]
    assert await (await other_workspace.agent("bot"))(list_my_tasks) == []
    await bot(release_task, task_id=mine.id)
    assert await bot(list_my_tasks) == []


async def test_a_page_has_fifty_unless_told_and_a_hundred_at_most(workspace: World) -> None:
    bot = await workspace.agent()
    for _ in range(3):
        await bot(create_tasks_bulk, tasks=[{"title": "x", "assigneeAgentId": bot.id}] * 40)
    first = await bot(list_my_tasks)
    assert (len(first), first.has_more, first.total) == (50, True, None)
    assert len(await bot(list_my_tasks, limit=10_000)) == 100
    assert len(await bot(list_my_tasks, limit=3.0)) == 3


async def test_fields_trim_each_task(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x", assignee_agent_id=bot.id)
    assert await bot(list_my_tasks, fields=["identifier", "title"]) == [{"identifier": "T-1", "title": "x"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"limit": -3},
        {"limit": 0.5},
        {"limit": "many"},
        {"status": "nope"},
        {"status": ["todo", "nope"]},
        {"status": ["todo"] * 21},
        {"fields": []},
        {"fields": ["nope"]},
        {"cursor": "0"},
        {"cursor": str(uuid4())},
        {"cursor": f"12-{uuid4()}"},
        {"cursor": f"3-{uuid4()}\n"},
        {"cursor": f"٣-{uuid4()}"},
        {"includeTotal": "yes"},
    ],
)
async def test_what_cannot_be_understood_is_refused(workspace: World, fields: dict[str, object]) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput):
        await bot.post(list_my_tasks, fields)
