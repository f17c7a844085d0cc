"""get-task shows what stands around a task: the last comments, relations, open blockers and the last handoff."""

import pytest

from app.operations import (
    cancel_task,
    claim_task,
    comment_on_task,
    create_task,
    get_task,
    link_tasks,
    release_run,
    update_task,
)
from tests.conftest import World
from tests.operations.claims import held

AROUND = ["comments", "relations", "blockers", "hiddenBlockers", "handoff"]


async def test_plain_http_gets_the_24_keys_unless_it_asks(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    assert await bot(get_task, task_id=task.id) == task
    around = await bot(get_task, task_id=task.id, fields=AROUND)
    assert around == {
        "comments": {"last": [], "earlier": 0},
        "relations": [],
        "blockers": [],
        "hiddenBlockers": 0,
        "handoff": None,
    }
    assert await bot(get_task, task_id=task.id, fields=["title", "blockers"]) == {
        "title": "a",
        "blockers": [],
    }


async def test_the_last_comments_are_there_whole_as_far_as_the_bytes_reach(workspace: World) -> None:
    ada, bot = await workspace.user(), await workspace.agent()
    task = await ada(create_task, title="a", assignee_agent_id=bot.id)
    long = "ö" * 1500  # 3,000 bytes
    for body in ("first", *(f"{n} {long}" for n in range(3)), "last but one", "last"):
        await bot(comment_on_task, task_id=task.id, body=body)
    said = (await ada(get_task, task_id=task.id, fields=["comments"]))["comments"]
    assert [remark["body"][:12] for remark in said["last"]] == ["2 öööööööööö", "last but one", "last"]
    assert {remark["by"] for remark in said["last"]} == {"bot"}
    assert len(said["last"][0]["body"]) == 1502
    assert said["earlier"] == 3


async def test_the_newest_comment_is_there_however_long_and_cut(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    for n in range(12):
        await bot(comment_on_task, task_id=task.id, body=f"{n}")
    said = (await bot(get_task, task_id=task.id, fields=["comments"]))["comments"]
    assert ([remark["body"] for remark in said["last"]], said["earlier"]) == (
        [str(n) for n in range(2, 12)],
        2,
    )
    await bot(comment_on_task, task_id=task.id, body="𝄞" * 5000)
    [newest] = (await bot(get_task, task_id=task.id, fields=["comments"]))["comments"]["last"]
    assert newest["body"] == "𝄞" * 1999 + "…"


async def test_relations_and_open_blockers_stand_apart_and_show_nothing_hidden(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    for n in range(1, 6):
        await bot(create_task, title=f"t{n}", channel_id=channel)
    await bot(create_task, title="not theirs")
    for first, kind, second in [
        ("T-1", "blocks", "T-2"), ("T-3", "blocks", "T-2"), ("T-2", "blocks", "T-4"), ("T-5", "related", "T-2"),
        ("T-6", "related", "T-2"),
    ]:  # fmt: skip
        await bot(link_tasks, task_id=first, kind=kind, other_task_id=second)
    await other(claim_task, task_id="T-1")
    await bot(cancel_task, task_id="T-3")
    around = await other(get_task, task_id="T-2", fields=["relations", "blockers", "hiddenBlockers"])
    assert around["blockers"] == [
        {"identifier": "T-1", "title": "t1", "status": "in_progress", "holder": "other"}
    ]
    assert around["hiddenBlockers"] == 0
    assert [(near["kind"], near["identifier"], near["status"]) for near in around["relations"]] == [
        ("blocked_by", "T-3", "cancelled"), ("blocks", "T-4", "todo"), ("related", "T-5", "todo"),
    ]  # fmt: skip
    await workspace.rows(
        """INSERT INTO task_relations (workspace_id, from_task_id, kind, to_task_id, created_by_id, created_by_kind)
           SELECT %(workspace)s, h.id, 'blocks', w.id, %(bot)s::uuid, 'agent' FROM tasks h CROSS JOIN tasks w
            WHERE h.workspace_id = %(workspace)s AND w.workspace_id = %(workspace)s AND h.number = 6 AND w.number = 2
        RETURNING kind""",
        bot=bot.id,
    )
    around = await other(get_task, task_id="T-2", fields=["blockers", "hiddenBlockers"])
    assert (len(around["blockers"]), around["hiddenBlockers"]) == (1, 1)


@pytest.mark.parametrize("how", ["release-run", "update-task"])
async def test_the_last_handoff_is_there_until_another_attempt_ends(workspace: World, how: str) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    await workspace.channel("work", bot, other)
    task, claim = await held(bot)
    if how == "release-run":
        await bot(release_run, run_id=claim.run.id, handoff="half of it")
    else:
        await bot(update_task, task_id=task.id, version=2, status="in_review", handoff="half of it")
    left = (await bot(get_task, task_id=task.id, fields=["handoff"]))["handoff"]
    assert (left["by"], left["text"]) == ("bot", "half of it")
    if how == "release-run":
        again = await bot(claim_task, task_id=task.id)
        assert (await bot(get_task, task_id=task.id, fields=["handoff"]))["handoff"] == left
        await bot(release_run, run_id=again.run.id)
        assert (await bot(get_task, task_id=task.id, fields=["handoff"]))["handoff"] is None
