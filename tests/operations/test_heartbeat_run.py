"""heartbeat-run: a sign of life."""

from app.operations import get_run, get_task, heartbeat_run
from tests.conftest import World
from tests.operations.claims import held


async def test_a_heartbeat_renews_the_lease_and_never_touches_the_task(workspace: World) -> None:
    bot = await workspace.agent()
    task, claim = await held(bot, lease_seconds=60)
    alive = await bot(heartbeat_run, run_id=claim.run.id, lease_seconds=600, progress=0.5, note="half")
    assert (alive.run_id, alive.task_id, alive.lease_seconds) == (claim.run.id, task.id, 600)
    assert alive.lease_expires_at > claim.run.lease_expires_at
    run = await bot(get_run, run_id=claim.run.id)
    assert (run.progress, run.note, run.lease_expires_at) == (0.5, "half", alive.lease_expires_at)
    await bot(heartbeat_run, run_id=claim.run.id)
    assert ((await bot(get_run, run_id=claim.run.id)).note) == "half"
    await bot(heartbeat_run, run_id=claim.run.id, note=None, progress=None)
    run = await bot(get_run, run_id=claim.run.id)
    assert (run.progress, run.note) == (None, None)
    assert (await bot(get_task, task_id=task.id)).version == 2
    assert len(await workspace.events(task.id)) == 2


async def test_nothing_that_a_sign_of_life_changes_stands_in_an_index(workspace: World) -> None:
    indexed = await workspace.rows(
        """SELECT DISTINCT a.attname AS name
             FROM pg_index x
             JOIN pg_attribute a ON a.attrelid = x.indrelid
              AND (a.attnum = ANY (x.indkey) OR pg_get_expr(x.indpred, x.indrelid) ~ ('\\m' || a.attname || '\\M'))
            WHERE x.indrelid = 'runs'::regclass"""
    )
    names = {row["name"] for row in indexed}
    assert {"id", "ended_at", "lease_check_at"} <= names
    assert not names & {
        "lease_expires_at",
        "lease_seconds",
        "progress",
        "note",
        "log_length",
        "version",
        "updated_at",
    }
