"""list-tasks: newest first, every filter alone and with every other, in pages that neither skip nor repeat.

Who sees what is the matter of test_visibility.py.
"""

import itertools
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import pytest

from app.errors import InvalidInput
from app.operations import comment_on_task, create_task, create_tasks_bulk, list_tasks, update_task
from app.rpc import execute
from tests.conftest import Caller, World

STATUSES: Final = ["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done", "cancelled"]
PRIORITIES: Final = ["none", "low", "medium", "high", "urgent"]


def identifiers(page: list[Any]) -> list[str]:
    return [task.identifier for task in page]


def newest_first(tasks: list[Any]) -> list[str]:
    return identifiers(sorted(tasks, key=lambda task: task.id, reverse=True))


async def every_page(caller: Caller, limit: int, **filters: object) -> list[str]:
    seen: list[str] = []
    cursor, more = None, True
    while more:
        page = await caller(list_tasks, limit=limit, cursor=cursor, **filters)
        assert page.has_more == (page.cursor is not None)
        seen += identifiers(page)
        assert len(set(seen)) == len(seen), "it repeats itself"
        cursor, more = page.cursor, page.has_more
    return seen


async def test_tasks_come_newest_first(workspace: World) -> None:
    bot = await workspace.agent()
    tasks = [await bot(create_task, title=f"{n}") for n in range(5)]
    await bot(update_task, task_id=tasks[0].id, version=1, title="changed last")
    page = await bot(list_tasks)
    assert identifiers(page) == newest_first(tasks) == ["T-5", "T-4", "T-3", "T-2", "T-1"]
    assert (page.has_more, page.cursor, page.total) == (False, None, None)


async def test_an_empty_list_is_a_page_too(workspace: World) -> None:
    bot = await workspace.agent()
    page = await bot(list_tasks, include_total=True)
    assert (list(page), page.has_more, page.cursor, page.total) == ([], False, None, 0)


async def test_a_task_that_is_seen_for_several_reasons_comes_once(workspace: World) -> None:
    bot = await workspace.agent("bot")
    channel = await workspace.channel("builds", bot)
    task = await bot(create_task, title="needle", channel_id=channel, assignee_agent_id=bot.id)
    await bot(comment_on_task, task_id=task.id, body="note to @bot")
    for filters in (
        {},
        {"query": "needle"},
        {"query": "T-1"},
        {"assignee_agent_id": bot.id},
        {"channel_id": channel},
    ):
        page = await bot(list_tasks, include_total=True, **filters)
        assert (identifiers(page), page.total) == (["T-1"], 1)


# --- filters


class Variety:
    """Tasks of every sort, and for each filter the sort that it lets through."""

    def __init__(
        self, bot: Caller, tasks: list[Any], filters: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]]
    ) -> None:
        self.bot = bot
        self.tasks = tasks
        self.filters = filters


@pytest.fixture
async def variety(workspace: World) -> Variety:
    ada, bot, helper = (
        await workspace.user("ada"),
        await workspace.agent("bot"),
        await workspace.agent("helper"),
    )
    builds, tests = (
        await workspace.channel("builds", bot, helper),
        await workspace.channel("tests", bot, helper),
    )
    whole = await bot(create_task, title="whole", channel_id=builds)
    for n in range(96):
        creator = (bot, helper)[n % 2]
        await creator(
            create_task,
            title=("Deploy the docs", "Fix the build", "Ship it")[n % 3],
            priority=PRIORITIES[n % 5],
            channel_id=(builds, tests)[n // 2 % 2],
            assignee_agent_id=(None, bot.id, helper.id, None)[n // 4 % 4],
            assignee_user_id=ada.id if n // 4 % 4 == 3 else None,
            parent_task_id=whole.id if n % 7 < 3 else None,
        )
        if n % 3:
            number = n + 2
            await bot(update_task, task_id=f"T-{number}", version=1, status=STATUSES[n // 3 % 8])
    tasks = list(await bot(list_tasks, limit=100))
    assert len(tasks) == 97
    middle = sorted(task.updated_at for task in tasks)[48]
    filters: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]] = {
        "status": ({"status": "blocked"}, lambda t: t.status == "blocked"),
        "statuses": ({"status": ["todo", "done"]}, lambda t: t.status in {"todo", "done"}),
        "open": ({"status": "open"}, lambda t: t.status not in {"done", "cancelled"}),
        "closed": ({"status": ["cancelled", "done"]}, lambda t: t.status in {"done", "cancelled"}),
        "open or done": ({"status": ["open", "done"]}, lambda t: t.status != "cancelled"),
        "priority": ({"priority": "high"}, lambda t: t.priority == "high"),
        "no priority": ({"priority": "none"}, lambda t: t.priority == "none"),
        "agent": ({"assignee_agent_id": helper.id}, lambda t: t.assignee_agent_id == helper.id),
        "user": ({"assignee_user_id": ada.id}, lambda t: t.assignee_user_id == ada.id),
        "channel": ({"channel_id": tests}, lambda t: t.channel_id == tests),
        "parent": ({"parent_task_id": "t-1"}, lambda t: t.parent_task_id == whole.id),
        "mine": ({"created_by_me": True}, lambda t: t.created_by_agent_id == bot.id),
        "since": ({"updated_since": middle}, lambda t: t.updated_at >= middle),
        "words": ({"query": "the B"}, lambda t: "the b" in t.title.lower()),
        "identifier": ({"query": "T-4"}, lambda t: t.identifier == "T-4"),
    }
    return Variety(bot, tasks, filters)


async def test_filters_work_alone_and_with_every_other(variety: Variety) -> None:
    names = [(name,) for name in variety.filters]
    pairs = itertools.combinations(variety.filters, 2)
    triples = itertools.islice(itertools.combinations(variety.filters, 3), 0, None, 11)
    for chosen in (*names, *pairs, *triples):
        fields = {key: value for name in chosen for key, value in variety.filters[name][0].items()}
        if len(fields) < len(chosen) or {"assignee_agent_id", "assignee_user_id"} <= set(fields):
            continue  # two filters that cannot be sent together
        expected = [task for task in variety.tasks if all(variety.filters[name][1](task) for name in chosen)]
        page = await variety.bot(list_tasks, limit=100, include_total=True, **fields)
        assert identifiers(page) == newest_first(expected), chosen
        assert page.total == len(expected), chosen


async def test_each_filter_lets_some_through_and_not_all(variety: Variety) -> None:
    for name, (_, matches) in variety.filters.items():
        assert 0 < sum(map(matches, variety.tasks)) < len(variety.tasks), name


async def test_filters_that_no_task_can_pass_give_an_empty_page(
    workspace: World, other_workspace: World
) -> None:
    bot, stranger = await workspace.agent(), await other_workspace.agent()
    elsewhere = await stranger(create_task, title="elsewhere")
    await bot(create_task, title="x")
    nowhere: list[dict[str, object]] = [
        {"assignee_agent_id": "bot"},
        {"assignee_agent_id": str(uuid4())},
        {"assignee_user_id": bot.id},
        {"channel_id": "general"},
        {"channel_id": str(uuid4())},
        {"parent_task_id": "T-99"},
        {"parent_task_id": "nonsense"},
        {"parent_task_id": elsewhere.id},
        {"updated_since": "9999-12-31T23:59:59-14:00"},
        {"query": "T-99"},
    ]
    for filters in nowhere:
        page = await bot(list_tasks, include_total=True, **filters)
        assert (list(page), page.has_more, page.total) == ([], False, 0), filters


async def test_a_task_changed_at_the_very_moment_is_changed_since(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    await workspace.rows(
        "UPDATE tasks SET updated_at = '2026-01-01T09:00:00Z' WHERE workspace_id = %(workspace)s RETURNING id"
    )
    for moment, found in (
        ("2026-01-01T09:00:00Z", 1),
        ("2026-01-01T10:00:00+01:00", 1),
        ("2026-01-01T09:00:00.000001Z", 0),
    ):
        assert len(await bot(list_tasks, updated_since=moment)) == found


async def test_no_task_has_two_assignees(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    await bot(create_task, title="x", assignee_agent_id=bot.id)
    await bot(create_task, title="y", assignee_user_id=ada.id)
    assert await bot(list_tasks, assignee_agent_id=bot.id, assignee_user_id=ada.id) == []


async def test_several_statuses_can_be_repeated_in_a_query_string(workspace: World) -> None:
    bot = await workspace.agent()
    for status in ("todo", "blocked", "triage"):
        await bot(create_task, title="x", status=status)
    for query, count in (
        (b"status=todo&status=blocked", 2),
        (b"status=todo", 1),
        (b"status=open&limit=10.0", 3),
        (b"", 3),
    ):
        page: Any = await execute(list_tasks, bot.context, query=query)
        assert len(page.items.decode(list[Any])) == count


# --- words


async def test_a_query_finds_parts_of_title_and_description_in_any_case(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="Upgrade PostgreSQL", description="Before *Friday*")
    await bot(create_task, title="Größe der Übersicht", description=None)
    await bot(create_task, title="Deploy", description="line one\nline two")
    for query, found in {
        "postgres": ["T-1"],
        "GRESQL": ["T-1"],
        "friday": ["T-1"],
        "*Friday*": ["T-1"],
        "größe": ["T-2"],
        "ÜBERSICHT": ["T-2"],
        "E": ["T-3", "T-2", "T-1"],
        "up": ["T-1"],
        "one\nline": ["T-3"],
        "deploy line": [],
        "null": [],
        "": ["T-3", "T-2", "T-1"],
    }.items():
        assert identifiers(await bot(list_tasks, query=query)) == found, query


async def test_percent_underscore_and_backslash_mean_themselves(workspace: World) -> None:
    bot = await workspace.agent()
    for title in ("100% done", "100 done", "snake_case", "snakeXcase", "C:\\temp", "C:temp", "a%_\\b"):
        await bot(create_task, title=title)
    for query, found in {
        "100%": ["100% done"],
        "%": ["a%_\\b", "100% done"],
        "_": ["a%_\\b", "snake_case"],
        "snake_c": ["snake_case"],
        "\\": ["a%_\\b", "C:\\temp"],
        "\\t": ["C:\\temp"],
        "%_\\": ["a%_\\b"],
        "%%": [],
        "'; --": [],
    }.items():
        assert [task.title for task in await bot(list_tasks, query=query)] == found, query


async def finds(caller: Caller, numbers: dict[str, list[int]]) -> None:
    for query, found in numbers.items():
        assert identifiers(await caller(list_tasks, query=query, limit=100)) == [f"T-{n}" for n in found], (
            query
        )


async def test_a_query_that_is_an_identifier_finds_that_task_and_who_speaks_of_it(workspace: World) -> None:
    bot = await workspace.agent()
    for _ in range(2):
        await bot(create_tasks_bulk, tasks=[{"title": "x"}] * 50)
    await bot(create_tasks_bulk, tasks=[{"title": "see T-42"}, {"title": "x"}])
    await finds(
        bot, {"T-42": [101, 42], "t-42": [101, 42], " T-42 ": [42], "T-10": [10], "T-9": [9], "T-102": [102]}
    )
    await finds(
        bot, {"T-0": [], "T-042": [], "T-103": [], "T-4x": [], "T-99999999999999999999": [], "XT-42": []}
    )
    await finds(bot, {"T-": list(range(102, 2, -1)), "t-4": [101, 4]})


async def test_a_query_that_starts_an_identifier_finds_those_that_go_on_like_it(workspace: World) -> None:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    for part in (range(1, 51), range(51, 101)):
        rows = [{"title": "x", **({"assigneeAgentId": bot.id} if n not in {1, 4} else {})} for n in part]
        await author(create_tasks_bulk, tasks=rows)
    await finds(
        bot, {"T-4": list(range(49, 39, -1)), "t-1": [100, *range(19, 9, -1)], "T-10": [10], "T-100": [100]}
    )
    await finds(author, {"T-4": [4], "T-1": [1]})


async def test_a_query_has_up_to_two_hundred_characters(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x" * 200)
    assert len(await bot(list_tasks, query="X" * 200)) == 1
    with pytest.raises(InvalidInput, match="query"):
        await bot(list_tasks, query="x" * 201)


# --- pages


@pytest.mark.parametrize("how", ["participant", "channel", "assignee", "parent", "words", "identifier"])
async def test_pages_neither_skip_nor_repeat_while_others_write(workspace: World, how: str) -> None:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author, bot)
    whole = await author(create_task, title="whole", assignee_agent_id=bot.id)
    row = {
        "participant": {"assigneeAgentId": bot.id},
        "channel": {"channelId": channel},
        "assignee": {"assigneeAgentId": bot.id},
        "parent": {"parentTaskId": whole.id, "assigneeAgentId": bot.id},
        "words": {"title": "find the needle", "assigneeAgentId": bot.id},
        "identifier": {"assigneeAgentId": bot.id},
    }[how]
    filters = {
        "participant": {},
        "channel": {"channel_id": channel},
        "assignee": {"assignee_agent_id": bot.id, "updated_since": "2000-01-01T00:00:00Z"},
        "parent": {"parent_task_id": whole.id},
        "words": {"query": "Needle"},
        "identifier": {"query": "T-"},
    }[how]
    for _ in range(5):
        await author(create_tasks_bulk, tasks=[{"title": "x", **row}] * 50)
    there = set(await every_page(bot, 100, **filters))
    assert len(there) >= 250
    seen: list[str] = []
    cursor, more = None, True
    while more:
        page = await bot(list_tasks, limit=60, cursor=cursor, **filters)
        seen += identifiers(page)
        assert len(set(seen)) == len(seen), "it repeats itself"
        cursor, more = page.cursor, page.has_more
        await author(
            create_tasks_bulk, tasks=[{"title": "y", **row}] * 9
        )  # newer: it belongs before the first page
        last = await bot(list_tasks, limit=1, cursor=cursor)
        if last:
            await author(
                update_task, task_id=last[0].id, version=1, priority="low"
            )  # still to come, and not moved
    assert set(seen) == there


@pytest.mark.parametrize("limit", [1, 3, 50, 100])
async def test_pages_of_any_size_add_up(workspace: World, limit: int) -> None:
    bot = await workspace.agent()
    await bot(create_tasks_bulk, tasks=[{"title": "x"}] * 50)
    assert await every_page(bot, limit) == [f"T-{n}" for n in range(50, 0, -1)]


async def test_a_total_counts_all_that_match_wherever_the_page_is(workspace: World) -> None:
    bot = await workspace.agent()
    channel = await workspace.channel("builds", bot)
    await bot(
        create_tasks_bulk, tasks=[{"title": "needle", "channelId": channel, "assigneeAgentId": bot.id}] * 30
    )
    await bot(create_tasks_bulk, tasks=[{"title": "hay"}] * 30)
    for filters, total in (
        ({}, 60),
        ({"query": "needle"}, 30),
        ({"channel_id": channel}, 30),
        ({"assignee_agent_id": bot.id}, 30),
        ({"status": "done"}, 0),
    ):
        first = await bot(list_tasks, limit=20, include_total=True, **filters)
        assert first.total == total
        if first.cursor:
            assert (
                await bot(list_tasks, limit=20, cursor=first.cursor, include_total=True, **filters)
            ).total == total
    assert (await bot(list_tasks, include_total=False)).total is None


async def test_a_page_has_fifty_unless_told_and_a_hundred_at_most(workspace: World) -> None:
    bot = await workspace.agent()
    for _ in range(3):
        await bot(create_tasks_bulk, tasks=[{"title": "x"}] * 40)
    assert len(await bot(list_tasks)) == 50
    for limit in (100, 101, 10**30, 100.0):
        assert len(await bot(list_tasks, limit=limit)) == 100
    assert len(await bot(list_tasks, limit=2.0)) == 2


async def test_a_cursor_of_a_task_that_is_gone_from_the_list_still_continues(workspace: World) -> None:
    bot = await workspace.agent()
    tasks = [await bot(create_task, title="x") for _ in range(4)]
    first = await bot(list_tasks, status="open", limit=2)
    await bot(update_task, task_id=tasks[2].id, version=1, status="done")
    assert identifiers(await bot(list_tasks, status="open", cursor=first.cursor)) == ["T-2", "T-1"]


# --- the rest


async def test_fields_trim_each_task(workspace: World) -> None:
    bot = await workspace.agent()
    for _ in range(2):
        await bot(create_task, title="x")
    trimmed = await bot(list_tasks, fields=["version", "identifier"], limit=1)
    assert trimmed == [{"identifier": "T-2", "version": 1}]


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 1.5},
        {"limit": "10"},
        {"limit": True},
        {"status": "Open"},
        {"status": ["todo", 7]},
        {"status": ["todo"] * 21},
        {"priority": "highest"},
        {"priority": ["low"]},
        {"assigneeAgentId": ""},
        {"channelId": "x" * 501},
        {"parentTaskId": 7},
        {"updatedSince": "yesterday"},
        {"updatedSince": "2026-01-01T00:00:00"},
        {"createdByMe": "yes"},
        {"includeTotal": 1},
        {"query": "\0"},
        {"query": 7},
        {"fields": []},
        {"fields": ["title", "nope"]},
        {"cursor": "T-1"},
        {"cursor": str(uuid4()) + "\n"},
        {"cursor": "9" * 10_000},
    ],
)
async def test_what_cannot_be_understood_is_refused(workspace: World, fields: dict[str, object]) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput):
        await bot.post(list_tasks, fields)
