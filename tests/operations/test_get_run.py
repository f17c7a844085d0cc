"""get-run: one run."""

import pytest

from app.errors import RunNotFound
from app.operations import claim_task, create_task, get_run
from tests.conftest import World
from tests.operations.claims import held


async def test_whoever_sees_the_task_sees_its_runs(workspace: World, other_workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    assert await other(get_run, run_id=claim.run.id) == claim.run
    _, hidden = await held(bot)
    for caller, run_id in (
        (other, hidden.run.id),
        (await other_workspace.agent(), claim.run.id),
        (bot, "nonsense"),
    ):
        with pytest.raises(RunNotFound):
            await caller(get_run, run_id=run_id)
