"""get-inbox: everything that waits for the caller, as much of it as fits."""

import asyncio
from typing import Any

import msgspec
import pytest

from app.errors import InvalidInput
from app.operations import (
    claim_task,
    comment_on_task,
    complete_task,
    create_task,
    get_inbox,
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
    assert inbox.changes == []
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
    assert len(mine.mentions[1].preview) == 280
    assert (mine.for_review, (await ada(get_inbox)).open_tasks) == ([], [])
    assert [t.identifier for t in (await ada(get_inbox)).for_review] == ["T-2"]


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
            ("openTasks", part.open_tasks),
            ("mentions", part.mentions),
            ("claims", part.claims),
        ]
        missing = [10 - len(items) for _, items in order]
        left = part.left_out
        assert missing == [left.changes, left.for_review, left.open_tasks, left.mentions, left.claims]
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
