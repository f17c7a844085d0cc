"""list-run-log: the steps of a run."""

import pytest

from app.errors import RunNotFound
from app.operations import append_run_log, list_run_log
from tests.conftest import World
from tests.operations.claims import held


async def test_who_follows_a_run_asks_for_what_is_behind_the_last_step_they_know(workspace: World) -> None:
    bot = await workspace.agent()
    _, claim = await held(bot)
    known, read = 0, []
    for n in range(3):
        await bot(append_run_log, run_id=claim.run.id, steps=[{"text": f"{n} a"}, {"text": f"{n} b"}])
        steps = await bot(list_run_log, run_id=claim.run.id, cursor=str(known))
        known = steps[-1].number
        read += [step.text for step in steps]
    assert read == ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b"]


async def test_whoever_does_not_see_the_task_does_not_see_the_log(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    _, claim = await held(bot)
    with pytest.raises(RunNotFound):
        await other(list_run_log, run_id=claim.run.id)
