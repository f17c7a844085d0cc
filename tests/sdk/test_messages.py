"""The published client, unmodified, on channels and messages: all their operations, and a long channel page by page."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from reload import AsyncReloadApi
from reload.errors import BadRequestError, ForbiddenError, NotFoundError

from tests.conftest import Caller, Server, World

MESSAGES: Final = 10_000
POSTED_MEANWHILE: Final = 300


@pytest_asyncio.fixture(loop_scope="session")
async def team(server: Server, workspace: World) -> AsyncIterator[tuple[Any, Any, Caller, Caller, str]]:
    """Ada's client and bot's, who they are, and a channel of theirs."""
    ada, bot = await workspace.user("ada", name="Ada"), await workspace.agent("bot", agent_type="cloud")
    channel = await workspace.channel("launch", ada, bot, purpose="Lift-off")
    async with httpx.AsyncClient(timeout=60) as client:
        ada_sdk, bot_sdk = (
            AsyncReloadApi(base_url=server.url, token=who.api_key, httpx_client=client) for who in (ada, bot)
        )
        yield ada_sdk, bot_sdk, ada, bot, channel


async def test_the_channels(team: tuple[Any, Any, Caller, Caller, str]) -> None:
    sdk, _, ada, bot, channel = team
    channels = (await sdk.channels.get_channels()).data
    assert {(c.name, c.type, c.purpose) for c in channels} == {
        ("general", "public", None),
        ("launch", "public", "Lift-off"),
    }
    page = (await sdk.channels.get_channel_members(channel_id=channel, limit=1.0)).data
    assert page.has_more is True
    rest = (await sdk.channels.get_channel_members(channel_id=channel, after=page.cursor)).data
    members = {m.handle: m for m in (*page.members, *rest.members)}
    assert (members["ada"].type, members["bot"].type, members["bot"].agent_type) == (
        "human",
        "agent",
        "cloud",
    )
    manifest = (await sdk.channels.get_channel_manifest(channel_id=channel)).data
    assert {m.member_id for m in manifest.members} == {ada.id, bot.id}
    assert manifest.recent_message_count == 0


async def test_the_messages(team: tuple[Any, Any, Caller, Caller, str]) -> None:
    sdk, bot_sdk, ada, _, channel = team
    sent = (await sdk.messages.send_message(channel_id=channel, content="@bot, look")).data
    assert (sent.sender_type, sent.sender_id, sent.reactions, sent.attachments) == ("human", ada.id, [], [])
    assert abs(datetime.now(UTC) - sent.created_at).total_seconds() < 60
    waiting = (await bot_sdk.messages.get_unread_mentions(limit=5.0)).data
    assert (waiting.count, waiting.mentions[0].id, waiting.mentions[0].channel_name) == (1, sent.id, "launch")
    reply = (
        await bot_sdk.messages.send_message(
            channel_id=channel, content="Looking", thread_id=sent.id, attachment_ids=None
        )
    ).data
    assert reply.parent_id == sent.id
    posted = (
        await bot_sdk.messages.post_message(
            channel_id=channel, content="Found", parent_message_id=reply.id, metadata={"n": 1}
        )
    ).data
    assert (posted.thread_id, posted.kind, posted.metadata) == (sent.id, "text", {"n": 1})
    shared = (
        await bot_sdk.messages.create_artifact(channel_id=channel, name="x.py", type="code", content="x = 1")
    ).data
    flagged = (await bot_sdk.messages.flag_needs_human(message_id=posted.id, reason="Unsure")).data
    assert (flagged.metadata["needsHuman"], flagged.version) == (True, 2)
    hits = (await sdk.messages.search_messages(query="found or looking", channel_id=channel)).data.messages
    assert {hit.id for hit in hits} == {reply.id, posted.id}
    page = (await sdk.messages.get_messages(channel_id=channel)).data.messages
    assert [m.id for m in page] == [shared.message_id, posted.id, reply.id, sent.id]
    assert [m.reply_count for m in page] == [0, 0, 0, 2]


async def test_a_task_card_is_a_message(team: tuple[Any, Any, Caller, Caller, str]) -> None:
    sdk, _, _, _, channel = team
    await sdk.tasks.create_task(title="Ship", channel_id=channel)
    [card] = (await sdk.messages.get_messages(channel_id=channel)).data.messages
    assert (card.sender_type, card.content) == ("system", "T-1 created: Ship")


async def test_refusals_are_the_errors_it_knows(
    team: tuple[Any, Any, Caller, Caller, str], workspace: World
) -> None:
    sdk, _, _, _, channel = team
    foreign = await workspace.channel("foreign")
    with pytest.raises(ForbiddenError) as forbidden:
        await sdk.messages.get_messages(channel_id=foreign)
    assert forbidden.value.body.error.code == "channel_not_member"
    with pytest.raises(ForbiddenError) as forbidden:
        await sdk.messages.post_message(channel_id=foreign, content="x")
    assert forbidden.value.body.error.code == "CHANNEL_PERMISSION_DENIED"
    with pytest.raises(NotFoundError) as unknown:
        await sdk.messages.post_message(channel_id=channel, content="x", parent_message_id="x")
    assert unknown.value.body.error.code == "NOT_FOUND"
    with pytest.raises(BadRequestError) as bad:
        await sdk.messages.post_message(
            channel_id=channel,
            content="x",
            request_options={"additional_body_parameters": {"threadId": "x"}},
        )
    assert bad.value.body.error.code == "VALIDATION_ERROR"


async def test_ten_thousand_messages_are_paged_without_gaps_or_repeats_while_others_post(
    team: tuple[Any, Any, Caller, Caller, str], workspace: World
) -> None:
    sdk, bot_sdk, _, _, channel = team
    await workspace.rows(
        """INSERT INTO messages (workspace_id, channel_id, position, id, sender_id, sender_type, content)
           SELECT %(workspace)s, %(channel)s::uuid, n, gen_random_uuid(), gen_random_uuid(), 'agent', n::text
             FROM generate_series(1, %(count)s::int) AS n
        RETURNING id""",
        channel=channel,
        count=MESSAGES,
    )
    await workspace.rows(
        "UPDATE channels SET last_position = %(count)s"
        " WHERE id = %(channel)s::uuid AND workspace_id = %(workspace)s RETURNING id",
        channel=channel,
        count=MESSAGES,
    )
    newest = (await sdk.messages.get_messages(channel_id=channel, limit=1)).data.messages[0]

    async def post() -> None:
        for n in range(POSTED_MEANWHILE // 3):
            await bot_sdk.messages.send_message(channel_id=channel, content=f"new {n}")

    posting = asyncio.gather(*(post() for _ in range(3)))
    older: list[str] = []
    page = (await sdk.messages.get_messages(channel_id=channel, limit=100, before=newest.id)).data
    older += [m.content for m in page.messages]
    while page.has_more:
        last = page.messages[-1].id
        page = (await sdk.messages.get_messages(channel_id=channel, limit=100, before=last)).data
        older += [m.content for m in page.messages]
    assert older == [str(n) for n in range(MESSAGES - 1, 0, -1)]

    newer: list[str] = []
    last = newest.id
    while len(newer) < POSTED_MEANWHILE:
        done = posting.done()
        page = (await sdk.messages.get_messages(channel_id=channel, limit=50, after=last)).data
        newer += [m.id for m in page.messages]
        last = page.messages[-1].id if page.messages else last
        if done and not page.messages:
            break
    await posting
    assert len(newer) == len(set(newer)) == POSTED_MEANWHILE


async def test_a_summary_of_a_plan_waits_for_its_assignees(
    team: tuple[Any, Any, Caller, Caller, str],
) -> None:
    sdk, bot_sdk, _, bot, channel = team
    plan = json.dumps([{"title": "one", "assigneeAgentId": bot.id}])
    await sdk.tasks.create_tasks_bulk(tasks=plan, summary_channel_id=channel)
    [mention] = (await bot_sdk.messages.get_unread_mentions()).data.mentions
    assert mention.content == "Created T-1 @bot"
