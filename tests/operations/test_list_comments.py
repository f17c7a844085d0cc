"""list-comments: oldest first, in pages that neither skip nor repeat."""

from typing import Any

import pytest

from app.errors import InvalidInput, TaskNotFound
from app.operations import comment_on_task, create_task, list_comments
from tests.conftest import Caller, World

NOBODY = "1f0c9a52-3d6e-4b7a-8c15-9e2d4f6a7b80"  # an id that nothing has


async def commented(workspace: World, count: int) -> tuple[Caller, Any]:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="x")
    for n in range(count):
        await bot(comment_on_task, task_id=task.id, body=f"{n}")
    return bot, task


def bodies(page: list[Any]) -> list[int]:
    return [int(comment.body) for comment in page]


async def test_comments_come_oldest_first(workspace: World) -> None:
    bot, task = await commented(workspace, 5)
    for name in (task.id, "T-1", "t-1"):
        page = await bot(list_comments, task_id=name)
        assert bodies(page) == [0, 1, 2, 3, 4]
        assert (page.cursor, page.has_more, page.total) == (None, False, None)


async def test_a_task_without_comments_has_an_empty_page(workspace: World) -> None:
    bot, task = await commented(workspace, 0)
    page = await bot(list_comments, task_id=task.id)
    assert (list(page), page.cursor, page.has_more) == ([], None, False)


async def test_only_the_comments_of_this_task_come(workspace: World) -> None:
    bot, task = await commented(workspace, 1)
    other = await bot(create_task, title="y")
    await bot(comment_on_task, task_id=other.id, body="99")
    assert bodies(await bot(list_comments, task_id=task.id)) == [0]


async def test_pages_follow_each_other_while_others_write(workspace: World) -> None:
    bot, task = await commented(workspace, 23)
    seen: list[int] = []
    cursor = None
    while True:
        page = await bot(list_comments, task_id=task.id, limit=5, cursor=cursor)
        assert len(page) == 5 or not page.has_more
        seen += bodies(page)
        assert len(seen) < 30, "it repeats itself"
        if not page.has_more:
            break
        cursor = page.cursor
        if len(seen) < 20:
            await bot(comment_on_task, task_id=task.id, body=str(23 + len(seen) // 5 - 1))
    assert seen == list(range(26))


async def test_a_page_has_fifty_unless_told_and_a_hundred_at_most(workspace: World) -> None:
    bot, task = await commented(workspace, 101)
    assert bodies(await bot(list_comments, task_id=task.id)) == list(range(50))
    for limit in (100, 101, 1_000_000, 100.0):
        page = await bot(list_comments, task_id=task.id, limit=limit)
        assert (len(page), page.has_more) == (100, True)
    last = await bot(list_comments, task_id=task.id, limit=100, cursor=page.cursor)
    assert (bodies(last), last.has_more) == ([100], False)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "x", True])
async def test_a_limit_below_one_or_that_is_no_number_is_refused(workspace: World, limit: object) -> None:
    bot, task = await commented(workspace, 0)
    with pytest.raises(InvalidInput, match="limit"):
        await bot(list_comments, task_id=task.id, limit=limit)


@pytest.mark.parametrize("cursor", ["", "x", "T-1", f"{NOBODY}\n", f"{{{NOBODY}}}", 7, "\0", "9" * 10_000])
async def test_a_cursor_that_no_page_gave_is_refused(workspace: World, cursor: object) -> None:
    bot, task = await commented(workspace, 1)
    with pytest.raises(InvalidInput):
        await bot(list_comments, task_id=task.id, cursor=cursor)


async def test_a_null_cursor_starts_at_the_beginning(workspace: World) -> None:
    bot, task = await commented(workspace, 2)
    assert bodies(await bot(list_comments, task_id=task.id, cursor=None)) == [0, 1]


async def test_the_comments_of_an_invisible_task_do_not_exist(
    workspace: World, other_workspace: World
) -> None:
    _, task = await commented(workspace, 1)
    for stranger in (await workspace.agent("stranger"), await other_workspace.agent("bot")):
        for name in (task.id, "T-1", "T-9", NOBODY):
            with pytest.raises(TaskNotFound):
                await stranger(list_comments, task_id=name)


async def test_a_reader_of_its_channel_reads_them(workspace: World) -> None:
    author, reader = await workspace.agent("author"), await workspace.agent("reader")
    channel = await workspace.channel("builds", author)
    await workspace.join("builds", reader, role="reader")
    task = await author(create_task, title="x", channel_id=channel)
    await author(comment_on_task, task_id=task.id, body="0")
    assert bodies(await reader(list_comments, task_id=task.id)) == [0]
