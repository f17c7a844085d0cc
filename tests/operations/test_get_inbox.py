"""get-inbox: everything that waits for the caller, as much of it as fits."""

import asyncio
from typing import Any

import msgspec
import pytest

from app.config import Config
from app.errors import InvalidInput
from app.jobs import leases
from app.operations import (
    claim_next_task,
    claim_task,
    comment_on_task,
    complete_task,
    create_task,
    force_release_run,
    get_channels,
    get_inbox,
    get_task,
    get_unread_mentions,
    heartbeat_run,
    link_tasks,
    release_run,
    send_message,
    update_task,
)
from tests.conftest import Caller, World
from tests.operations.claims import expire, held


async def two(workspace: World) -> tuple[Caller, Caller, str]:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    return ada, bot, await workspace.channel("builds", ada, bot)


async def test_an_empty_inbox_is_small_and_has_a_cursor(workspace: World) -> None:
    bot = await workspace.agent()
    inbox = await bot(get_inbox)
    assert (inbox.claims, inbox.open_tasks, inbox.mentions, inbox.for_review) == ([], [], [], [])
    assert (inbox.lost_claims, inbox.channel_tasks, inbox.changes) == ([], [], [])
    assert len(msgspec.json.encode(inbox)) < 400
    assert (await bot(get_inbox, cursor=inbox.cursor)).changes == []


async def test_it_has_tasks_mentions_and_reviews(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    low = await ada(create_task, title="low", assignee_agent_id=bot.id)
    high = await ada(create_task, title="high", assignee_agent_id=bot.id, priority="high")
    done = await ada(create_task, title="done", assignee_agent_id=bot.id)
    await bot(complete_task, task_id=done.id)
    asked = await ada(send_message, channel_id=channel, content="@bot " + "x" * 1000)
    await ada(comment_on_task, task_id=low.id, body="@bot?")
    await bot(update_task, task_id=high.id, version=1, status="in_review")
    mine = await bot(get_inbox)
    assert [(t.identifier, t.status, t.version) for t in mine.open_tasks] == [
        ("T-2", "in_review", 2),
        ("T-1", "todo", 1),
    ]
    assert [(m.channel_name, m.place_id, m.channel_id) for m in mine.mentions] == [
        ("T-1", low.id, None),
        ("builds", asked.id, channel),
    ]
    assert len(mine.mentions[1].preview) == 1000
    assert {m.sender_handle for m in mine.mentions} == {"ada"}
    assert (mine.for_review, (await ada(get_inbox)).open_tasks) == ([], [])
    [review] = (await ada(get_inbox)).for_review
    assert (review.identifier, review.holder, review.why) == ("T-2", "bot", "created_by_you")


async def test_it_begins_with_the_claims_that_live_the_next_to_expire_first(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    leases = {}
    for seconds in (600, 30, 3600, 5, 5):
        task, claim = await held(bot, lease_seconds=seconds)
        leases[claim.run.id] = (task, claim, seconds)
    await held(other)
    *_, ended, expired = leases
    await bot(release_run, run_id=ended)
    await expire(workspace, expired)
    claims = (await bot(get_inbox)).claims
    assert [leases[c.run_id][2] for c in claims] == [30, 600, 3600]
    assert {(c.progress, c.note) for c in claims} == {(None, None)}
    await bot(heartbeat_run, run_id=claims[0].run_id, progress=0.5, note="half of it " + "x" * 1000)
    [reported, *_] = (await bot(get_inbox)).claims
    assert (reported.progress, len(reported.note), reported.note[:7]) == (0.5, 500, "half of")
    for c in claims:
        task, claim, seconds = leases[c.run_id]
        assert (c.task_id, c.identifier, c.title) == (task.id, task.identifier, task.title)
        assert c.lease_expires_at == claim.run.lease_expires_at
        assert seconds - 20 < c.seconds_left <= seconds


async def test_changes_are_what_others_did_since_the_cursor(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    before = (await ada(get_inbox)).cursor
    task = await bot(create_task, title="x", channel_id=channel)
    await bot(create_task, title="not hers to see")
    await ada(update_task, task_id=task.id, version=1, priority="high")
    await bot(update_task, task_id=task.id, version=2, status="in_progress")
    await bot(comment_on_task, task_id=task.id, body="began")
    inbox = await ada(get_inbox, cursor=before)
    assert [(c.kind, c.version, c.fields, c.actor_id) for c in inbox.changes] == [
        ("created", 1, [], bot.id),
        ("updated", 3, ["startedAt", "status"], bot.id),
        ("commented", 3, [], bot.id),
    ]
    assert (await ada(get_inbox, cursor=inbox.cursor)).changes == []


async def test_what_does_not_fit_is_left_out_in_the_stated_order_and_counted(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    before = (await bot(get_inbox)).cursor
    for n in range(10):
        await ada(create_task, title=f"task {n}", assignee_agent_id=bot.id)
        await ada(send_message, channel_id=channel, content=f"@bot {n}")
        await bot(create_task, title=f"review {n}", status="in_review", assignee_user_id=ada.id)
        await bot(claim_task, task_id=f"T-{2 * n + 1}")
    whole = await bot(get_inbox, cursor=before, max_bytes=200_000)
    sections = (whole.claims, whole.open_tasks, whole.mentions, whole.for_review, whole.changes)
    assert [len(part) for part in sections] == [10] * 5
    assert not any(msgspec.structs.astuple(whole.left_out))
    seen_partial: set[str] = set()
    for size in range(1_000, 14_000, 97):
        part = await bot(get_inbox, cursor=before, max_bytes=size)
        assert len(msgspec.json.encode(part)) <= size
        order = [
            ("changes", part.changes),
            ("forReview", part.for_review),
            ("mentions", part.mentions),
            ("openTasks", part.open_tasks),
            ("claims", part.claims),
        ]
        missing = [10 - len(items) for _, items in order]
        left = part.left_out
        assert missing == [left.changes, left.for_review, left.mentions, left.open_tasks, left.claims]
        partial = [n for n, count in enumerate(missing) if 0 < count < 10]
        assert len(partial) <= 1
        cut = partial[0] if partial else missing.index(0) if 0 in missing else 5
        assert missing[:cut] == [10] * cut and missing[cut + 1 :] == [0] * len(missing[cut + 1 :])
        seen_partial |= {order[n][0] for n in partial}
        assert part.mentions == whole.mentions[: len(part.mentions)]
        assert part.open_tasks == whole.open_tasks[: len(part.open_tasks)]
    assert seen_partial == {"changes", "forReview", "openTasks", "mentions", "claims"}


async def test_changes_that_were_left_out_come_with_the_next_cursor(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    cursor = (await bot(get_inbox)).cursor
    for n in range(120):
        await (ada if n % 3 else bot)(create_task, title=str(n), channel_id=channel)
    seen: list[str] = []
    for _ in range(100):
        inbox = await bot(get_inbox, cursor=cursor, max_bytes=3_000)
        seen += [change.title for change in inbox.changes]
        cursor = inbox.cursor
        if not inbox.left_out.changes:
            break
    assert seen == [str(n) for n in range(120) if n % 3]


async def test_who_follows_the_cursor_while_others_write_misses_nothing(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    cursor = (await ada(get_inbox)).cursor

    async def write(n: int) -> None:
        for m in range(20):
            await bot(create_task, title=f"{n} {m}", channel_id=channel)

    writing = asyncio.gather(*(write(n) for n in range(4)))
    seen: list[str] = []
    while len(seen) < 80:
        done = writing.done()
        inbox = await ada(get_inbox, cursor=cursor, max_bytes=200_000)
        seen += [change.title for change in inbox.changes]
        cursor = inbox.cursor
        if done and not inbox.changes:
            break
    await writing
    assert sorted(seen) == sorted(f"{n} {m}" for n in range(4) for m in range(20))


async def test_a_key_without_channels_hears_so(workspace: World) -> None:
    ada, _, channel = await two(workspace)
    scout = await workspace.agent("scout", scopes="task-read", channels=["builds"])
    await ada(send_message, channel_id=channel, content="@scout")
    inbox: Any = await scout(get_inbox)
    assert (inbox.mentions, inbox.left_out.mentions, inbox.not_allowed) == ([], 0, ["mentions"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 999},
        {"max_bytes": 200_001},
        {"cursor": "x"},
        {"cursor": "1-1\n"},
        {"cursor": "-1"},
        {"cursor": "030984-1"},  # Postgres would read it as octal
        {"cursor": "9999999999999999999999-1"},
    ],
)
async def test_a_bad_size_or_cursor_is_refused(workspace: World, wrong: dict[str, object]) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput):
        await bot(get_inbox, **wrong)


# Claims that were lost ----------------------------------------------------------------------------------


async def lost_by(workspace: World, how: str) -> tuple[Caller, Caller, Any]:
    """A holder who lost their claim, who has the task or took it away, and the claim."""
    late, now = await workspace.agent("late"), await workspace.agent("now")
    op = await workspace.user("op", scopes="operator")
    channel = await workspace.channel("work", late, now)
    await now(create_task, title="a", channel_id=channel)
    [claim] = await late(claim_next_task)
    match how:
        case "lease_expired":
            await expire(workspace, claim.run.id)
            await sweep(workspace, claim.run.id)
            await now(claim_next_task)
        case "force_released":
            await op(force_release_run, run_id=claim.run.id)
            await now(claim_next_task)
        case _:
            await now(update_task, task_id=claim.task.id, version=2, assignee_agent_id=now.id)
    return late, now, claim


async def sweep(workspace: World, run_id: str) -> None:
    """Let the job come by until it has ended this claim."""
    for _ in range(50):
        await leases.run_once(workspace.db, Config())
        if await workspace.rows(
            "SELECT id FROM runs WHERE workspace_id = %(workspace)s AND id = %(run)s::uuid AND ended_at IS NOT NULL",
            run=run_id,
        ):
            return
    pytest.fail("the lease never ended")


@pytest.mark.parametrize("how", ["lease_expired", "force_released", "superseded"])
async def test_a_lost_claim_stands_there_until_it_is_seen_cursor_or_not(workspace: World, how: str) -> None:
    late, now, claim = await lost_by(workspace, how)
    cursor = (await late(get_inbox)).cursor
    for fields in ({}, {"cursor": cursor}, {}):
        [loss] = (await late(get_inbox, **fields)).lost_claims
        assert (loss.run_id, loss.task_id, loss.reason, loss.holder) == (
            claim.run.id,
            claim.task.id,
            how,
            "now",
        )
    assert (await now(get_inbox, seen=[claim.run.id])).lost_claims == []  # it is not theirs
    assert len((await late(get_inbox)).lost_claims) == 1
    assert (await late(get_inbox, seen=[claim.run.id, "nonsense"])).lost_claims == []
    assert (await late(get_inbox)).lost_claims == []


async def test_an_expiry_is_news_to_its_late_holder(workspace: World) -> None:
    bot = await workspace.agent()
    task, claim = await held(bot)
    cursor = (await bot(get_inbox)).cursor
    await expire(workspace, claim.run.id)
    await sweep(workspace, claim.run.id)
    [change] = (await bot(get_inbox, cursor=cursor)).changes
    assert (change.task_id, change.kind, change.actor_type, change.actor_handle) == (
        task.id,
        "run_expired",
        "system",
        "baton",
    )


async def test_who_holds_the_task_again_has_lost_nothing_and_who_ends_it_themselves_neither(
    workspace: World,
) -> None:
    bot = await workspace.agent()
    task, claim = await held(bot)
    await expire(workspace, claim.run.id)
    await sweep(workspace, claim.run.id)
    assert len((await bot(get_inbox)).lost_claims) == 1
    again = await bot(claim_task, task_id=task.id)
    assert (await bot(get_inbox)).lost_claims == []
    await bot(release_run, run_id=again.run.id)
    assert [loss.run_id for loss in (await bot(get_inbox)).lost_claims] == [claim.run.id]


@pytest.mark.parametrize("status", ["in_review", "in_progress"])
async def test_a_claim_that_a_reviewer_ended_well_is_no_loss_but_one_that_others_completed_is(
    workspace: World, status: str
) -> None:
    ada, bot, channel = await two(workspace)
    task = await ada(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    await bot(update_task, task_id=task.id, version=2, status=status, run_id=claim.run.id)
    await ada(complete_task, task_id=task.id, version=(await ada(get_task, task_id=task.id)).version)
    lost = [loss.run_id for loss in (await bot(get_inbox)).lost_claims]
    assert lost == ([] if status == "in_review" else [claim.run.id])


# Mentions -----------------------------------------------------------------------------------------------


async def mentioned(workspace: World) -> tuple[Caller, Caller, Any]:
    """Somebody who asks @bot about a task in a channel they share."""
    ada, bot, channel = await two(workspace)
    task = await ada(create_task, title="a", channel_id=channel)
    await ada(comment_on_task, task_id=task.id, body="@bot, which colour?")
    assert len((await bot(get_inbox)).mentions) == 1
    return ada, bot, task


async def waiting(bot: Caller) -> int:
    """How much waits for an answer, as both operations say."""
    count = len((await bot(get_inbox)).mentions)
    mentions = await bot(get_unread_mentions)
    assert (len(mentions.mentions), mentions.count) == (count, count)
    return count


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("how", [{"status": "done"}, {"status": "cancelled"}])
async def test_mentions_of_a_finished_task_go(workspace: World, how: dict[str, str], version: int) -> None:
    ada, bot, task = await mentioned(workspace)
    if version == 2:
        await ada(update_task, task_id=task.id, version=1, title="b")
        assert await waiting(bot) == 1
    await ada(update_task, task_id=task.id, version=version, **how)
    assert await waiting(bot) == 0
    await ada(comment_on_task, task_id=task.id, body="@bot, and why that one?")  # asked of what is finished
    assert await waiting(bot) == 1


@pytest.mark.parametrize("act", ["update", "claim", "comment"])
async def test_a_mention_goes_when_its_addressee_has_acted_there(workspace: World, act: str) -> None:
    ada, bot, task = await mentioned(workspace)
    if act == "update":
        await bot(update_task, task_id=task.id, version=1, description="Blue.")
    elif act == "claim":
        await bot(claim_task, task_id=task.id)
    else:
        await bot(comment_on_task, task_id=task.id, body="Blue.")
    assert await waiting(bot) == 0
    await ada(comment_on_task, task_id=task.id, body="@bot, sure?")
    assert await waiting(bot) == 1


async def test_what_others_do_leaves_a_mention_there(workspace: World) -> None:
    ada, bot, task = await mentioned(workspace)
    await ada(update_task, task_id=task.id, version=1, status="in_progress", priority="high")
    await ada(comment_on_task, task_id=task.id, body="No hurry.")
    assert await waiting(bot) == 1


async def test_what_was_seen_is_not_shown_again(workspace: World) -> None:
    ada, bot, _ = await mentioned(workspace)
    channel = next(c.id for c in await bot(get_channels) if c.name == "builds")
    await ada(send_message, channel_id=channel, content="@bot, hello")
    shown = (await bot(get_inbox)).mentions
    assert len(shown) == 2
    left = await bot(get_inbox, seen=[shown[0].id])
    assert [m.id for m in left.mentions] == [shown[1].id]
    assert (await bot(get_inbox, seen=[shown[1].id])).mentions == []
    assert await waiting(bot) == 0


# What stands around -------------------------------------------------------------------------------------


async def test_a_first_inbox_has_the_open_tasks_of_my_channels_with_their_holders(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    other = await workspace.agent("other", channels=["builds"])
    for n, priority in enumerate(["none", "urgent", "low"]):
        await ada(create_task, title=f"t{n}", channel_id=channel, priority=priority)
    await ada(create_task, title="not shared")
    await ada(create_task, title="mine", channel_id=channel, assignee_agent_id=bot.id)
    finished = await ada(create_task, title="finished", channel_id=channel)
    await ada(complete_task, task_id=finished.id)
    await other(claim_task, task_id="T-2")
    for blocker in ("T-2", "T-4", finished.id):  # one of them is not shared, and one is done
        await ada(link_tasks, task_id=blocker, kind="blocks", other_task_id="T-1")
    inbox = await bot(get_inbox)
    assert [(t.identifier, t.status, t.holder, t.channel, t.open_blockers) for t in inbox.channel_tasks] == [
        ("T-2", "in_progress", "other", "builds", 0),
        ("T-3", "todo", None, "builds", 0),
        ("T-1", "todo", None, "builds", 2),
    ]
    assert (await bot(get_inbox, cursor=inbox.cursor)).channel_tasks == []


async def test_a_first_inbox_has_the_last_changes_ones_own_too(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    for n in range(7):
        await ada(create_task, title=f"t{n}", channel_id=channel)
        await bot(create_task, title=f"s{n}", channel_id=channel)
        await ada(create_task, title="not shared")
    inbox = await bot(get_inbox)
    assert [change.title for change in inbox.changes] == [f"{who}{n}" for n in range(2, 7) for who in "ts"]
    assert {change.actor_handle for change in inbox.changes} == {"ada", "bot"}
    assert (await bot(get_inbox, cursor=inbox.cursor)).changes == []


async def test_whoever_posts_in_a_channel_can_review_there(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    reader = await workspace.agent("reader")
    await workspace.join("builds", reader, role="reader")
    task = await bot(create_task, title="a", channel_id=channel, assignee_agent_id=bot.id, status="in_review")
    [review] = (await ada(get_inbox)).for_review
    assert (review.identifier, review.holder, review.why) == (task.identifier, "bot", "in_your_channel")
    assert (await reader(get_inbox)).for_review == []
    assert (await bot(get_inbox)).for_review == []


async def test_claims_and_open_tasks_are_cut_last(workspace: World) -> None:
    ada, bot, channel = await two(workspace)
    await ada(create_task, title="the only one", assignee_agent_id=bot.id)
    for n in range(3):
        await ada(send_message, channel_id=channel, content=f"@bot {n} " + "x" * 2000)
        await ada(create_task, title=f"t{n}", channel_id=channel)
    inbox = await bot(get_inbox, max_bytes=1_000)
    assert [task.title for task in inbox.open_tasks] == ["the only one"]
    assert (inbox.mentions, inbox.left_out.mentions) == ([], 3)
