"""get-workspace-info: which workspace this is, and how many live in it."""

import pytest

from app.errors import ScopeMissing
from app.operations import get_workspace_info
from tests.conftest import World


async def test_a_workspace_tells_its_name_and_counts_users_agents_and_channels(
    workspace: World, other_workspace: World
) -> None:
    ada = await workspace.user("ada")
    await workspace.user("bob")
    await workspace.agent("bot", owner="ada")
    await workspace.agent("secret", owner="ada", private=True)
    await workspace.agent("helper")
    await workspace.channel("builds")
    await other_workspace.user("elsewhere")
    info = await ada(get_workspace_info)
    assert (info.id, info.slug, info.name) == (workspace.id, workspace.slug, workspace.slug)
    assert info.created_at == workspace.info.created_at
    assert (info.member_count, info.agent_count, info.channel_count) == (2, 3, 2)


async def test_archived_channels_do_not_count(workspace: World) -> None:
    bot = await workspace.agent()
    await workspace.rows(
        "UPDATE channels SET archived_at = now() WHERE workspace_id = %(workspace)s RETURNING id"
    )
    assert (await bot(get_workspace_info)).channel_count == 0


async def test_it_needs_its_scope(workspace: World) -> None:
    bot = await workspace.agent("bot", scopes="read-and-post")
    with pytest.raises(ScopeMissing, match="workspace-read"):
        await bot(get_workspace_info)
