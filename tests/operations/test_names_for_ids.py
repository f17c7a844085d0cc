"""`@handle` and `#channel` do wherever an id of a user, an agent or a channel does; nothing is learnt by guessing names."""

from typing import Any

import msgspec
import pytest

from app.errors import ApiError, ChannelNotFound, IdentityNotFound
from app.operations import (
    OPERATIONS,
    add_channel_member,
    claim_next_task,
    comment_on_task,
    create_task,
    create_tasks_bulk,
    get_inbox,
    get_messages,
    list_tasks,
    update_task,
)
from app.operations.tasks.create import NewTask
from app.rpc import Operation, places_of
from tests.conftest import World, spelled
from tests.http.conftest import at_home

NAMING = [op for op in OPERATIONS if op.places]


def test_every_field_for_someone_or_for_a_channel_takes_a_name() -> None:
    for request in [*(op.request for op in OPERATIONS if op.family.tools), NewTask]:
        known = {place.field for place in places_of(request)}
        for field in request.__struct_fields__:
            if field.endswith(("_agent_id", "_user_id", "channel_id", "member_id")):
                assert field in known, (request, field)


@pytest.mark.parametrize("op", NAMING, ids=lambda op: op.name)
async def test_a_name_does_what_the_id_does(workspace: World, op: Operation) -> None:
    home = await at_home(workspace)
    names = await names_of(workspace)
    asked: dict[str, object] = {key: names.get(str(value), value) for key, value in home.request(op).items()}
    channel = spelled(op, "channel_id")
    if any(place.field == "channel_id" for place in op.places):
        asked.setdefault(channel, "#general")
    await home.caller(op).post(op, asked)


@pytest.mark.parametrize("op", NAMING, ids=lambda op: op.name)
async def test_an_unknown_name_is_refused_with_the_field_it_stood_in(workspace: World, op: Operation) -> None:
    home = await at_home(workspace)
    caller, request = home.caller(op), home.request(op)
    for place in op.places:
        wrong = "#nowhere" if place.noun == "channel" else "@nobody"
        others = {other.wire for other in op.places if other.kind and place.kind}
        asked = {name: value for name, value in request.items() if name not in others}
        with pytest.raises((ChannelNotFound, IdentityNotFound)) as refused:
            await caller.post(op, {**asked, place.wire: wrong})
        assert wrong in refused.value.message
        assert (refused.value.details or {})["field"] == place.wire


async def names_of(workspace: World) -> dict[str, str]:
    """What everybody and every channel of the workspace is called, by id."""
    people = await workspace.rows(
        "SELECT id::text, '@' || handle AS name FROM identities WHERE workspace_id = %(w)s",
        w=workspace.info.id,
    )
    channels = await workspace.rows(
        "SELECT id::text, '#' || name AS name FROM channels WHERE workspace_id = %(w)s", w=workspace.info.id
    )
    return {row["id"]: row["name"] for row in [*people, *channels]}


async def test_a_name_says_who_is_meant_whichever_field_it_stands_in(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("scout")
    task = await bot(create_task, title="Mend it", assignee_agent_id="@ada")
    assert (task.assignee_user_id, task.assignee_agent_id) == (ada.id, None)
    task = await bot(update_task, task_id=task.id, version=1, assignee_user_id="@Scout")
    assert (task.assignee_user_id, task.assignee_agent_id) == (None, bot.id)
    assert [t.id for t in await bot(list_tasks, assignee_user_id="@scout")] == [task.id]
    with pytest.raises(IdentityNotFound):
        await bot(update_task, task_id=task.id, version=2, assignee_agent_id="@ada", assignee_user_id=ada.id)
    with pytest.raises(ChannelNotFound):
        await bot(update_task, task_id=task.id, version=2, channel_id="@ada")


async def test_rows_of_a_bulk_call_take_names_and_the_wrong_one_is_counted(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("scout")
    channel = await workspace.channel("roofs", ada, bot)
    rows = [
        {"title": "One", "channelId": "#roofs", "assigneeUserId": "@ada"},
        {"title": "Two", "channelId": "#Roofs"},
    ]
    made = await bot(create_tasks_bulk, tasks=rows, summary_channel_id="#roofs")
    assert [(t.channel_id, t.assignee_user_id) for t in made] == [(channel, ada.id), (channel, None)]
    with pytest.raises(IdentityNotFound, match=r"Row 1: No user or agent `@eve`"):
        await bot(create_tasks_bulk, tasks=[{"title": "One"}, {"title": "Two", "assigneeUserId": "@eve"}])


async def test_a_mention_on_purpose_takes_a_handle(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("scout")
    task = await bot(create_task, title="Mend it")
    said = await bot(comment_on_task, task_id=task.id, body="Look.", mentions=[{"id": "@Ada"}])
    assert [mention.id for mention in said.mentions] == [ada.id]


async def test_a_private_channel_is_found_by_its_members_only(workspace: World) -> None:
    ada, bot, eve = await workspace.user("ada"), await workspace.agent("scout"), await workspace.agent("eve")
    await workspace.channel("secret", ada, bot, private=True)
    assert await bot(claim_next_task, channel_id="#secret") == []
    for op, fields in (
        (claim_next_task, {"channel_id": "#secret"}),
        (get_messages, {"channel_id": "#secret"}),
        (add_channel_member, {"channel_id": "#secret", "member_id": "@eve"}),
        (list_tasks, {"channel_id": "#secret"}),
    ):
        answers: list[str] = []
        for name in ("#secret", "#nowhere"):
            with pytest.raises(ApiError) as refused:
                await eve(op, **{**fields, "channel_id": name})
            answers.append(refused.value.message.replace(name, "…"))
        assert answers[0] == answers[1], "whether there is such a channel is not to be learnt"


async def test_the_first_inbox_says_who_one_is_and_whom_one_works_with(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("scout")
    await workspace.channel("roofs", ada, bot)
    first: Any = await bot(get_inbox)
    assert (first.you.handle, first.you.kind) == ("scout", "agent")
    assert [c.members for c in first.you.channels if c.name == "roofs"] == [["ada"]]
    later: Any = await bot(get_inbox, cursor=first.cursor)
    assert later.you is msgspec.UNSET


async def test_whom_one_works_with_takes_no_more_room_than_there_is(workspace: World) -> None:
    bot = await workspace.agent("scout")
    others = [await workspace.agent(f"somebody-with-a-long-handle-{n}") for n in range(15)]
    for n in range(12):
        await workspace.channel(f"a-channel-with-a-long-name-{n}", bot, *others)
    for size in (1000, 2000, 8000):
        inbox: Any = await bot(get_inbox, max_bytes=size)
        assert len(msgspec.json.encode(inbox)) <= size
        assert inbox.you.handle == "scout"
