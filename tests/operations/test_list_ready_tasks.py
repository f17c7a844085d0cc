"""list-ready-tasks: what claim-next-task would give, in its order."""

from app.operations import claim_next_task, create_task, list_ready_tasks
from tests.conftest import World


async def test_a_task_of_low_priority_is_not_starved_for_ever(workspace: World) -> None:
    bot = await workspace.agent()
    old = await bot(create_task, title="old", priority="none")
    await workspace.rows(
        """UPDATE tasks SET created_at = now() - interval '29 days'
            WHERE workspace_id = %(workspace)s AND id = %(id)s::uuid RETURNING id""",
        id=old.id,
    )
    await bot(create_task, title="new", priority="urgent")
    assert [task.title for task in await bot(list_ready_tasks)] == ["old", "new"]


async def test_what_is_ready_for_a_caller_is_theirs_or_nobodys_in_their_channels(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    shared = await workspace.channel("shared", bot, other)
    foreign = await workspace.channel("foreign", other)
    await other(create_task, title="theirs", channel_id=shared, assignee_agent_id=other.id)
    await other(create_task, title="mine", assignee_agent_id=bot.id)
    await other(create_task, title="shared", channel_id=shared)
    await other(create_task, title="foreign", channel_id=foreign)
    await other(create_task, title="private")
    await bot(create_task, title="own")
    assert [task.title for task in await bot(list_ready_tasks)] == ["mine", "shared", "own"]
    assert [task.title for task in await bot(list_ready_tasks, channel_id=shared)] == ["shared"]
    claims = await bot(claim_next_task, limit=10)
    assert [claim.task.title for claim in claims] == ["mine", "shared", "own"]


async def test_pages_of_ready_tasks_follow_each_other_without_gap_or_repetition(workspace: World) -> None:
    bot = await workspace.agent()
    for n in range(25):
        await bot(
            create_task,
            title=str(n),
            priority=["none", "high"][n % 2],
            status=["todo", "backlog"][n % 3 == 0],
        )
    whole = [task.id for task in await bot(list_ready_tasks, include_backlog=True)]
    assert len(whole) == 25
    paged, cursor = [], None
    while True:
        page = await bot(list_ready_tasks, include_backlog=True, limit=4, cursor=cursor)
        paged += [task.id for task in page]
        if (cursor := page.cursor) is None:
            break
    assert paged == whole
