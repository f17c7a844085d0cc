"""comment-on-task: a remark, whom it addresses, and that it never touches the task itself."""

import asyncio
from uuid import uuid4

import pytest

from app.errors import IdentityNotFound, InvalidInput, TaskNotFound, TaskReadOnly
from app.operations import comment_on_task, create_task, get_task, list_comments, list_tasks, update_task
from tests.conftest import Caller, World


async def addressed(author: Caller, body: str, **fields: object) -> set[str]:
    """Whom a comment on a new task mentions."""
    task = await author(create_task, title="x")
    comment = await author(comment_on_task, task_id=task.id, body=body, **fields)
    assert len({mention.id for mention in comment.mentions}) == len(comment.mentions)
    return {mention.id for mention in comment.mentions}


async def test_a_comment_comes_back_whole(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    task = await bot(create_task, title="x", assignee_user_id=ada.id)
    by_agent = await bot(comment_on_task, task_id=task.id, body="Found *it*.\n\n    code")
    assert (by_agent.task_id, by_agent.body) == (task.id, "Found *it*.\n\n    code")
    assert (by_agent.author_agent_id, by_agent.author_user_id) == (bot.id, None)
    assert (by_agent.mentions, by_agent.created_at) == ([], by_agent.updated_at)
    assert (by_agent.parent_comment_id, by_agent.resolved_at, by_agent.deleted_at) == (None, None, None)
    by_user = await ada(comment_on_task, task_id="t-1", body="Thanks")
    assert (by_user.author_agent_id, by_user.author_user_id) == (None, ada.id)
    assert await bot(list_comments, task_id=task.id) == [by_agent, by_user]


async def test_a_comment_never_moves_the_version(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    for n in range(3):
        await bot(comment_on_task, task_id=task.id, body=f"remark {n}")
    assert await bot(get_task, task_id=task.id) == task
    assert (await bot(update_task, task_id=task.id, version=1, title="y")).version == 2


async def test_comments_at_once_all_stay(workspace: World) -> None:
    bots = [await workspace.agent(f"bot-{n}") for n in range(4)]
    channel = await workspace.channel("builds", *bots)
    task = await bots[0](create_task, title="x", channel_id=channel)
    await asyncio.gather(
        *(bot(comment_on_task, task_id=task.id, body=f"{bot.handle} {n}") for n in range(5) for bot in bots)
    )
    bodies = {comment.body for comment in await bots[0](list_comments, task_id=task.id)}
    assert bodies == {f"bot-{b} {n}" for b in range(4) for n in range(5)}


async def test_the_log_has_one_line_per_comment_at_the_version_it_was_made_at(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="x")
    first = await bot(comment_on_task, task_id=task.id, body="one")
    await bot(update_task, task_id=task.id, version=1, title="y")
    second = await bot(comment_on_task, task_id=task.id, body="two")
    events = await workspace.events(task.id)
    assert [(event["kind"], event["version"]) for event in events] == [
        ("created", 1),
        ("commented", 1),
        ("updated", 2),
        ("commented", 2),
    ]
    for event, comment in ((events[1], first), (events[3], second)):
        assert (event["subject_id"], event["changes"]) == (comment.id, {})
        assert (event["actor_id"], event["actor_kind"], event["request_id"]) == (bot.id, "agent", "test-bot")


async def test_a_comment_has_one_to_a_hundred_thousand_characters(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    comment = await bot(comment_on_task, task_id=task.id, body="🐝" * 100_000)
    assert comment.body == "🐝" * 100_000
    for body in ("", "x" * 100_001, None, 7, "a\0b"):
        with pytest.raises(InvalidInput):
            await bot(comment_on_task, task_id=task.id, body=body)
    with pytest.raises(InvalidInput, match="body"):
        await bot(comment_on_task, task_id=task.id)


async def test_an_invisible_task_does_not_exist(workspace: World, other_workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="x")
    for stranger in (await workspace.agent("stranger"), await other_workspace.agent("bot")):
        for name in (task.id, "T-1", "T-9", str(uuid4()), "x" * 500):
            with pytest.raises(TaskNotFound):
                await stranger(comment_on_task, task_id=name, body="hello?")
    assert await bot(list_comments, task_id=task.id) == []


async def test_a_reader_of_its_channel_may_not_comment(workspace: World) -> None:
    author, reader = await workspace.agent("author"), await workspace.agent("reader")
    channel = await workspace.channel("builds", author)
    await workspace.join("builds", reader, role="reader")
    task = await author(create_task, title="x", channel_id=channel)
    with pytest.raises(TaskReadOnly):
        await reader(comment_on_task, task_id=task.id, body="hello?")


# --- whom a body addresses


async def test_a_handle_in_the_body_addresses_whoever_has_it(workspace: World) -> None:
    ada, bot, helper = (
        await workspace.user("ada"),
        await workspace.agent("bot"),
        await workspace.agent("helper"),
    )
    task = await bot(create_task, title="x")
    comment = await bot(comment_on_task, task_id=task.id, body="@Ada and @helper, please. @ada?")
    assert {(mention.id, mention.type) for mention in comment.mentions} == {
        (ada.id, "user"),
        (helper.id, "agent"),
    }
    assert len(comment.mentions) == 2
    for caller in (ada, helper):
        assert [seen.id for seen in await caller(list_tasks)] == [task.id]


async def test_code_addresses_nobody(workspace: World) -> None:
    bot, helper = await workspace.agent("bot"), await workspace.agent("helper")
    code = [
        "`@helper`",
        "``run @helper ` ``",
        "```\n@helper\n```",
        "```py\n@helper\ndef f(): ...",
        "~~~\n@helper\n~~~",
    ]
    for body in code:
        assert await addressed(bot, body) == set()
        assert await addressed(bot, f"@helper\n{body}") == {helper.id}
    assert len(await helper(list_tasks)) == len(code), "the tasks where it was addressed, and no others"


async def test_an_unknown_handle_is_plain_text(workspace: World, other_workspace: World) -> None:
    bot = await workspace.agent("bot")
    await other_workspace.agent("elsewhere")
    for body in ("@nobody", "@elsewhere", "@", "@@bot", "@-bot", f"@{'b' * 64}", "@bot_1", "@" * 1000):
        assert await addressed(bot, body) == set(), body


async def test_an_email_address_addresses_nobody(workspace: World) -> None:
    bot = await workspace.agent("bot")
    await workspace.user("example")
    await workspace.user("ada")
    for body in ("mail ada@example.test", "a.b@example", "x@ada@example", "https://example.test/@ada"):
        assert await addressed(bot, body) == set(), body


@pytest.mark.parametrize(
    "body", ["@helper", "(@helper)", "@helper's", "@helper.", "**@helper**:", "to @helper,@bot", "é @HELPER!"]
)
async def test_punctuation_around_a_handle_does_not_hide_it(workspace: World, body: str) -> None:
    bot, helper = await workspace.agent("bot"), await workspace.agent("helper")
    assert helper.id in await addressed(bot, body)


async def test_a_body_addresses_twenty_at_most(workspace: World) -> None:
    bot = await workspace.agent("bot")
    helpers = [await workspace.agent(f"helper-{n}") for n in range(21)]
    everyone = " ".join(f"@{helper.handle}" for helper in helpers)
    assert len(await addressed(bot, everyone.replace("@helper-20", ""))) == 20
    with pytest.raises(InvalidInput, match="at most 20 users and agents; this one addresses 21") as refused:
        await addressed(bot, everyone)
    assert refused.value.details == {"field": "mentions"}
    with pytest.raises(InvalidInput, match="at most 20"):
        await addressed(bot, "@helper-20", mentions=[{"id": helper.id} for helper in helpers[:20]])


# --- explicit mentions


async def test_mentions_address_besides_the_body_and_each_only_once(workspace: World) -> None:
    ada, bot, helper = (
        await workspace.user("ada"),
        await workspace.agent("bot"),
        await workspace.agent("helper"),
    )
    mentions = [{"id": ada.id, "type": "user"}, {"id": helper.id}, {"id": helper.id.upper(), "type": "agent"}]
    assert await addressed(bot, "@helper", mentions=mentions) == {ada.id, helper.id}
    assert await addressed(bot, "nobody", mentions=None) == set()
    assert await addressed(bot, "nobody", mentions=[]) == set()


async def test_a_mention_must_be_someone_of_this_workspace(workspace: World, other_workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    stranger = await other_workspace.agent("stranger")
    wrong = ({"id": stranger.id}, {"id": str(uuid4())}, {"id": "ada"}, {"id": ada.id, "type": "agent"})
    for mention in wrong:
        with pytest.raises(IdentityNotFound) as refused:
            await addressed(bot, "x", mentions=[{"id": bot.id}, mention])
        assert mention["id"] in refused.value.message
        assert refused.value.details == {"field": "mentions"}
    assert await workspace.rows("SELECT * FROM task_comments WHERE workspace_id = %(workspace)s") == []


@pytest.mark.parametrize(
    "mentions",
    [
        7,
        "ada",
        [{}],
        ["ada"],
        [{"id": ""}],
        [{"id": "x", "type": "team"}],
        [{"id": "x"}] * 21,
        [{"id": "\0"}],
    ],
)
async def test_mentions_that_are_no_list_of_up_to_twenty_are_refused(
    workspace: World, mentions: object
) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput):
        await addressed(bot, "x", mentions=mentions)


async def test_a_private_agent_can_be_addressed_by_whoever_shares_an_owner_or_a_channel_with_it(
    workspace: World,
) -> None:
    ada, bob = await workspace.user("ada", channels=[]), await workspace.user("bob", channels=[])
    secret = await workspace.agent("secret", owner="ada", private=True, channels=[])
    sister = await workspace.agent("sister", owner="ada", channels=[])
    for caller in (ada, sister):
        assert await addressed(caller, "@secret") == {secret.id}
        assert await addressed(caller, "x", mentions=[{"id": secret.id}]) == {secret.id}
    assert await addressed(bob, "@secret") == set()
    with pytest.raises(IdentityNotFound):
        await addressed(bob, "x", mentions=[{"id": secret.id}])
    await workspace.channel("shared", bob, secret)
    assert await addressed(bob, "@secret") == {secret.id}
    assert await addressed(bob, "x", mentions=[{"id": secret.id}]) == {secret.id}
