"""list-runs: runs, newest first."""

from app.operations import claim_task, create_task, list_runs, release_run
from tests.conftest import World
from tests.operations.claims import expire, held


async def test_runs_are_listed_newest_first_and_narrowed(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task = await bot(create_task, title="a", channel_id=channel)
    hidden = await other(create_task, title="hidden")
    first = await bot(claim_task, task_id=task.id)
    await bot(release_run, run_id=first.run.id)
    second = await other(claim_task, task_id=task.id)
    await other(claim_task, task_id=hidden.id)
    assert [run.id for run in await bot(list_runs)] == [second.run.id, first.run.id]
    assert [run.id for run in await bot(list_runs, task_id=task.identifier)] == [second.run.id, first.run.id]
    assert [run.id for run in await bot(list_runs, mine=True)] == [first.run.id]
    assert [run.id for run in await bot(list_runs, live=True)] == [second.run.id]
    assert [run.id for run in await bot(list_runs, live=False)] == [first.run.id]
    assert [run.id for run in await bot(list_runs, status="cancelled")] == [first.run.id]
    page = await bot(list_runs, limit=1)
    assert [run.id for run in await bot(list_runs, limit=1, cursor=page.cursor)] == [first.run.id]
    assert await bot(list_runs, task_id="T-99") == []


async def test_what_a_caller_still_holds_is_listed(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    kept, given_back, lost = [(await held(bot))[1].run.id for _ in range(3)]
    await held(other)
    await bot(release_run, run_id=given_back)
    await expire(workspace, lost)
    assert [run.id for run in await bot(list_runs, mine=True, live=True)] == [kept]
    assert [run.id for run in await bot(list_runs, mine=True, live=False)] == [lost, given_back]
