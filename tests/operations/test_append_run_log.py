"""append-run-log: steps, in order."""

import asyncio

import pytest

from app.errors import RunNotFound
from app.operations import append_run_log, get_run, list_run_log
from tests.conftest import World
from tests.operations.claims import held


async def test_a_log_is_numbered_without_gaps_and_read_from_where_one_stopped(workspace: World) -> None:
    bot = await workspace.agent()
    _, claim = await held(bot)
    first = await bot(
        append_run_log,
        run_id=claim.run.id,
        steps=[{"text": "one"}, {"text": "two", "kind": "k", "data": {"x": 1}}],
    )
    assert (first.first_number, first.last_number) == (1, 2)
    await asyncio.gather(
        *[bot(append_run_log, run_id=claim.run.id, steps=[{"text": str(n)}] * 3) for n in range(10)]
    )
    page = await bot(list_run_log, run_id=claim.run.id, limit=2)
    assert [(s.number, s.kind, s.text, s.data) for s in page] == [
        (1, None, "one", None),
        (2, "k", "two", {"x": 1}),
    ]
    rest = await bot(list_run_log, run_id=claim.run.id, limit=100, cursor=page.cursor)
    assert [step.number for step in rest] == list(range(3, 33))
    assert all(len({s.text for s in rest[n : n + 3]}) == 1 for n in range(0, 30, 3))
    assert (await bot(get_run, run_id=claim.run.id)).log_length == 32
    with pytest.raises(RunNotFound):
        await bot(list_run_log, run_id="nonsense")
