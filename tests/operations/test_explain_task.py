"""explain-task: why a task cannot be claimed."""

from app.operations import (
    block_task,
    claim_task,
    complete_task,
    create_task,
    explain_task,
    link_tasks,
    update_task,
)
from tests.conftest import World
from tests.operations.claims import expire


async def test_an_explanation_names_what_stands_in_the_way_and_what_would_help(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task, blocker = [await bot(create_task, title=title, channel_id=channel) for title in ("task", "blocker")]
    secret = await bot(create_task, title="secret")

    free = await other(explain_task, task_id=task.id)
    assert (free.claimable, free.offered, free.obstacles) == (True, True, [])

    for first in (blocker, secret):
        await bot(link_tasks, task_id=first.id, kind="blocks", other_task_id=task.id)
    [waits] = (await other(explain_task, task_id=task.identifier)).obstacles
    assert (waits.code, [b.identifier for b in waits.blockers], waits.hidden_blockers) == (
        "blocked_by",
        ["T-2"],
        1,
    )
    foremost = waits.helps[0]
    assert (foremost.operation, foremost.arguments) == ("complete-task", {"taskId": "T-2"})
    await bot(complete_task, task_id=blocker.id)
    await bot(complete_task, task_id=secret.id)

    claim = await bot(claim_task, task_id=task.id)
    [holds] = (await other(explain_task, task_id=task.id)).obstacles
    assert (holds.code, holds.holder.handle, holds.holder.run_id) == ("held", "bot", claim.run.id)
    assert holds.holder.lease_expires_at == claim.run.lease_expires_at
    assert ("force-release-run", "operator") in [(h.operation, h.by) for h in holds.helps]
    [mine] = (await bot(explain_task, task_id=task.id)).obstacles
    assert mine.code == "held_by_you"
    await expire(workspace, claim.run.id)
    [over] = (await other(explain_task, task_id=task.id)).obstacles
    assert (over.code, over.helps) == ("held", [])

    stuck = await bot(create_task, title="stuck", channel_id=channel, assignee_agent_id=bot.id)
    assert [o.code for o in (await other(explain_task, task_id=stuck.id)).obstacles] == ["assigned"]
    await bot(block_task, task_id=stuck.id, reason="why")
    assert [o.code for o in (await bot(explain_task, task_id=stuck.id)).obstacles] == ["status"]
    assert [o.code for o in (await bot(explain_task, task_id=blocker.id)).obstacles] == ["closed"]

    reader = await workspace.agent("reader", channels=[])
    await workspace.join("work", reader, role="reader")
    assert (await reader(explain_task, task_id=task.id)).obstacles[0].code == "read_only"


async def test_what_cannot_be_seen_and_what_is_not_there_are_explained_alike(
    workspace: World, other_workspace: World
) -> None:
    bot, stranger = await workspace.agent(), await other_workspace.agent()
    task = await bot(create_task, title="a")
    answers = [
        await stranger(explain_task, task_id=id) for id in (task.id, "019cadf1-2e40-7000-8000-000000000042")
    ]
    assert [(a.task_id, a.claimable, a.obstacles[0].code) for a in answers] == [
        (None, False, "not_visible")
    ] * 2


async def test_the_call_that_helps_can_be_made_as_it_is_told(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    await bot(complete_task, task_id=task.id)
    [obstacle] = (await bot(explain_task, task_id=task.id)).obstacles
    [help] = obstacle.helps
    assert (help.operation, help.arguments) == (
        "update-task",
        {"taskId": "T-1", "version": 2, "status": "todo"},
    )
    reopened = await bot(update_task, task_id="T-1", version=2, status="todo")
    assert (await bot(explain_task, task_id=reopened.id)).claimable
