"""fail-run: the work could not be done."""

import pytest

from app.errors import NotClaimable
from app.operations import claim_next_task, claim_task, create_task, fail_run, list_comments, update_task
from tests.conftest import World


async def test_a_task_that_keeps_failing_is_parked_with_its_reason(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="poison")
    seen = []
    for attempt in range(1, 6):
        claim = await bot(claim_task, task_id=task.id)
        ended = await bot(
            fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": f"try {attempt}"}]
        )
        seen.append(ended.task)
    assert [now.status for now in seen] == ["todo"] * 4 + ["blocked"]
    [comment] = await bot(list_comments, task_id=task.id)
    assert "after 5 failed claims" in comment.body and "`boom`: try 5" in comment.body
    assert await bot(claim_next_task) == []
    with pytest.raises(NotClaimable):
        await bot(claim_task, task_id=task.id)
    await bot(update_task, task_id=task.id, version=seen[-1].version, status="todo")
    claim = await bot(claim_task, task_id=task.id)  # and the count begins anew
    ended = await bot(fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": "again"}])
    assert ended.task.status == "todo"


async def test_a_failure_without_retry_parks_the_task_at_once(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    ended = await bot(
        fail_run, run_id=claim.run.id, errors=[{"code": "no", "message": "impossible"}], retry=False
    )
    assert ended.task.status == "blocked"
    [comment] = await bot(list_comments, task_id=task.id)
    assert "after 1 failed claim." in comment.body
