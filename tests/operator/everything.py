"""A workspace in which every table has rows of it."""

from app.operations import (
    add_channel_member,
    append_run_log,
    claim_task,
    comment_on_task,
    complete_run,
    create_channel,
    create_task,
    create_task_record,
    link_tasks,
    remove_channel_member,
    send_message,
)
from app.operator import administration as admin
from tests.conftest import World


async def fill(world: World) -> set[str]:
    """Let something of everything happen in a workspace; answers with what must not be told of it."""
    ada, bot = await world.user("ada"), await world.agent("bot", owner="ada")
    eve = await world.user("eve")
    channel = (await ada(create_channel, name="builds")).id
    for member in (bot, eve):
        await ada(add_channel_member, channel_id=channel, member_id=member.id)
    await ada(remove_channel_member, channel_id=channel, member_id=eve.id)
    parent = await bot(create_task, title="parent", channel_id=channel, idempotency_key="first")
    await bot(create_task, title="child", parent_task_id=parent.id)
    await bot(link_tasks, task_id="T-1", other_task_id="T-2", kind="blocks")
    await ada(comment_on_task, task_id="T-1", body="@bot, can you?")
    claim = await bot(claim_task, task_id="T-1")
    await bot(append_run_log, run_id=claim.run.id, steps=[{"text": f"step {n}"} for n in range(3)])
    await bot(complete_run, run_id=claim.run.id, complete_task=True)
    await bot(send_message, channel_id=channel, content="@ada, done")
    outer = await bot(create_task_record, kind="build", work_item_id=parent.id, stateful=True)
    await bot(create_task_record, kind="build", work_item_id=parent.id, parent_id=outer.id)
    token = await admin.create_verify_token(world.db, world.info, "bot")
    key = await admin.create_key(world.db, world.info, "bot")
    return {ada.api_key, bot.api_key, eve.api_key, key.api_key, token.token}
