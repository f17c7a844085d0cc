"""link-tasks: edges between tasks."""

import asyncio
import itertools

import pytest

from app.errors import InvalidInput, RelationCycle, TaskNotFound, TaskReadOnly
from app.operations import create_task, link_tasks, list_task_relations, unlink_tasks
from tests.conftest import World
from tests.operations.claims import kinds


async def test_related_is_the_same_from_either_end(workspace: World) -> None:
    bot = await workspace.agent()
    a, b = [await bot(create_task, title=title) for title in "ab"]
    await bot(link_tasks, task_id=b.id, kind="related", other_task_id=a.id)
    await bot(link_tasks, task_id=a.id, kind="related", other_task_id=b.id)
    assert await kinds(bot, a) == [("related", b.identifier)]
    assert await kinds(bot, b) == [("related", a.identifier)]
    await bot(unlink_tasks, task_id=a.id, kind="related", other_task_id=b.id)
    assert await kinds(bot, b) == []


async def test_duplicate_has_a_direction(workspace: World) -> None:
    bot = await workspace.agent()
    a, b = [await bot(create_task, title=title) for title in "ab"]
    await bot(link_tasks, task_id=b.id, kind="duplicate", other_task_id=a.id)
    assert await kinds(bot, b) == [("duplicate", a.identifier)]
    assert await kinds(bot, a) == [("duplicated_by", b.identifier)]
    assert [r.kind for r in await bot(list_task_relations, task_id=a.id, kind="blocks")] == []


async def test_linking_twice_and_unlinking_nothing_are_harmless_and_leave_one_event_each(
    workspace: World,
) -> None:
    bot = await workspace.agent()
    a, b = [await bot(create_task, title=title) for title in "ab"]
    for _ in range(2):
        await bot(link_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    for _ in range(2):
        await bot(unlink_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    await bot(
        link_tasks, task_id=a.id, kind="blocks", other_task_id=b.id
    )  # at the same version: a subject of its own
    assert [(e["kind"], e["changes"]) for e in await workspace.events(a.id)][1:] == [
        ("linked", {"blocks": [None, b.id]}),
        ("unlinked", {"blocks": [b.id, None]}),
        ("linked", {"blocks": [None, b.id]}),
    ]
    assert [e["changes"] for e in await workspace.events(b.id)][1] == {"blocked_by": [None, a.id]}
    assert {e["version"] for e in await workspace.events(b.id)} == {1}


async def test_a_task_cannot_be_related_to_itself(workspace: World) -> None:
    bot = await workspace.agent()
    a = await bot(create_task, title="a")
    with pytest.raises(InvalidInput) as refused:
        await bot(link_tasks, task_id=a.id, kind="related", other_task_id=a.identifier)
    assert refused.value.details == {"field": "otherTaskId"}


async def test_a_circle_of_blockers_is_refused_however_long(workspace: World) -> None:
    bot = await workspace.agent()
    tasks = [await bot(create_task, title=str(n)) for n in range(4)]
    for first, second in itertools.pairwise(tasks):
        await bot(link_tasks, task_id=first.id, kind="blocks", other_task_id=second.id)
    with pytest.raises(RelationCycle):
        await bot(link_tasks, task_id=tasks[3].id, kind="blocks", other_task_id=tasks[0].id)
    await bot(link_tasks, task_id=tasks[3].id, kind="related", other_task_id=tasks[0].id)


async def test_of_links_that_together_would_make_a_circle_one_is_refused(workspace: World) -> None:
    bot = await workspace.agent()
    for _ in range(10):
        a, b = [await bot(create_task, title=title) for title in "ab"]
        answers = await asyncio.gather(
            bot(link_tasks, task_id=a.id, kind="blocks", other_task_id=b.id),
            bot(link_tasks, task_id=b.id, kind="blocks", other_task_id=a.id),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers].count(RelationCycle) == 1


async def test_both_ends_must_be_visible_and_the_callers_to_change(
    workspace: World, other_workspace: World
) -> None:
    bot, stranger = await workspace.agent(), await workspace.agent("stranger", channels=[])
    channel = await workspace.channel("plans", bot)
    reader = await workspace.agent("reader", channels=[])
    await workspace.join("plans", reader, role="reader")
    mine = await stranger(create_task, title="mine")
    a, b = [await bot(create_task, title=title, channel_id=channel) for title in "ab"]
    with pytest.raises(TaskNotFound) as hidden:
        await stranger(link_tasks, task_id=mine.id, kind="blocks", other_task_id=a.id)
    assert hidden.value.details is not None
    assert hidden.value.details["field"] == "otherTaskId"
    with pytest.raises(TaskReadOnly):
        await reader(link_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    with pytest.raises(TaskNotFound):
        await (await other_workspace.agent())(list_task_relations, task_id=a.id)
    assert await kinds(reader, a) == []
