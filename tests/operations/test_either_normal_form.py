"""What is looked for is found however Unicode spells it: every search, either way round."""

import pytest

from app.operations import (
    claim_next_task,
    create_task,
    get_channels,
    list_ready_tasks,
    list_tasks,
    search_messages,
    search_tasks,
    send_message,
    update_task,
)
from tests.conftest import World

PAIRS = [
    ("Cafe\u0301 offen", "Caf\u00e9"),
    ("Caf\u00e9 offen", "cafe\u0301"),
    ("ΣΑΣ", "σας"),
    ("σας", "ΣΑΣ"),
    ("straße", "STRAßE"),
    ("\uac00\ub098\ub2e4", "\u1100\u1161\u1102\u1161\u1103\u1161"),
]


@pytest.mark.parametrize("written, asked", PAIRS)
async def test_it_is_found(workspace: World, written: str, asked: str) -> None:
    bot = await workspace.agent()
    [general] = await bot(get_channels)
    task = await bot(create_task, title=written, channel_id=general.id)
    other = await bot(create_task, title="x", channel_id=general.id)
    other = await bot(update_task, task_id=other.id, version=1, description=written)
    await bot(send_message, channel_id=general.id, content=written)
    assert {found.id for found in await bot(list_tasks, query=asked)} == {task.id, other.id}
    assert {found.id for found in await bot(list_ready_tasks, query=asked)} == {task.id, other.id}
    assert {hit.task.id for hit in (await bot(search_tasks, query=asked)).tasks} == {task.id, other.id}
    [message] = (await bot(search_messages, query=asked)).messages
    assert message.content == written, "as it came"
    [claim] = await bot(claim_next_task, query=asked)
    assert claim.task.title == written
