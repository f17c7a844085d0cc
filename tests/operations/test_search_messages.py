"""search-messages: words, phrases and not, whatever is typed."""

import pytest

from app.errors import ChannelNotFound, ChannelNotMember, InvalidInput
from app.operations import (
    create_task,
    search_messages,
    search_tasks,
    send_message,
)
from tests.conftest import Caller, World


async def found(caller: Caller, query: str, **fields: object) -> list[str]:
    return [hit.content for hit in (await caller(search_messages, query=query, **fields)).messages]


async def tasks_found(caller: Caller, query: str, **fields: object) -> list[str]:
    return [hit.task.title for hit in (await caller(search_tasks, query=query, **fields)).tasks]


SAID = ["the red fox", "the quick red fox jumps", "a fox, red as rust", "no such animal", "Füchse in Köln"]


async def channel_with_words(workspace: World) -> tuple[Caller, str]:
    bot = await workspace.agent("bot")
    channel = await workspace.channel("builds", bot)
    for words in SAID:
        await bot(send_message, channel_id=channel, content=words)
    return bot, channel


@pytest.mark.parametrize(
    "query, hits",
    [
        ("fox", {0, 1, 2}),
        ("FOX", {0, 1, 2}),
        ("red fox", {0, 1, 2}),
        ('"red fox"', {0, 1}),
        ("fox -quick", {0, 2}),
        ('fox -"red fox"', {2}),
        ("quick or rust", {1, 2}),
        ("füchse köln", {4}),
        ("the", {0, 1}),
        ("badger", set[int]()),
    ],
)
async def test_words_phrases_and_not(workspace: World, query: str, hits: set[int]) -> None:
    bot, _ = await channel_with_words(workspace)
    assert set(await found(bot, query)) == {SAID[n] for n in hits}


HOSTILE = [
    "",
    " ",
    "-",
    "-fox",
    "-fox -red",
    '"',
    '"""',
    "or or or",
    "&|!():*<->",
    "fox & | !",
    "'); DROP TABLE messages; --",
    "\\",
    "%_%",
    "\u202e\ufeff\U0001f98a",
    "a" * 10_000,
    " ".join(f"w{n}" for n in range(1_800)),
    "-" * 10_000,
    '"' * 9_999,
    "fox " * 2_500,
    "a<->" * 2_500,
    "a " * 5_000,
    "a -" * 3_333,
    "- " * 5_000,
    '-"' * 5_000,
    "a or " * 2_000,
    "\u2019-\u00a0-" * 2_500,
    "(((" * 3_333,
    "a-" * 5_000,
    "http://a.b/c?d=e&" * 588,
    "a:*" * 3_333,
]


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
async def test_no_text_is_a_bad_query(workspace: World, query: str) -> None:
    bot, _ = await channel_with_words(workspace)
    await found(bot, query)
    await tasks_found(bot, query)


async def test_what_only_excludes_finds_nothing(workspace: World) -> None:
    bot, _ = await channel_with_words(workspace)
    assert await found(bot, "-fox") == []


@pytest.mark.parametrize("query", ["fox\0", "x" * 10_001])
async def test_what_cannot_be_searched_for_is_refused(workspace: World, query: str) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput):
        await bot(search_messages, query=query)


async def test_the_best_fit_comes_first_with_its_rank(workspace: World) -> None:
    bot = await workspace.agent()
    channel = await workspace.channel("builds", bot)
    for words in ("fox", "fox fox fox", "fox fox"):
        await bot(send_message, channel_id=channel, content=words)
    hits = (await bot(search_messages, query="fox", limit=2)).messages
    assert [hit.content for hit in hits] == ["fox fox fox", "fox fox"]
    assert hits[0].rank > hits[1].rank > 0
    assert bot.meta["pagination"]["hasMore"]
    excluding = (await bot(search_messages, query="fox -badger")).messages
    assert [hit.rank for hit in excluding[:2]] == [hit.rank for hit in hits]


async def test_only_the_callers_channels_are_searched(workspace: World) -> None:
    bot, channel = await channel_with_words(workspace)
    other = await workspace.channel("other", bot)
    await bot(send_message, channel_id=other, content="fox in another place")
    assert await found(bot, "fox", channel_id=other) == ["fox in another place"]
    eve = await workspace.agent("eve")
    assert await found(eve, "fox") == []
    with pytest.raises(ChannelNotMember):
        await found(eve, "fox", channel_id=channel)
    with pytest.raises(ChannelNotFound):
        await found(eve, "fox", channel_id=await workspace.channel("secret", private=True))
    await workspace.leave(channel, bot)
    assert await found(bot, "fox") == ["fox in another place"]


async def test_task_cards_are_not_found(workspace: World) -> None:
    bot = await workspace.agent()
    channel = await workspace.channel("builds", bot)
    await bot(create_task, title="Feed the fox", channel_id=channel)
    assert await found(bot, "fox") == []
    assert await tasks_found(bot, "fox", channel_id=channel) == ["Feed the fox"]
