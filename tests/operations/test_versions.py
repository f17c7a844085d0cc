"""Versions on every verb: what holds them, what a conflict says, and what may be merged all the same."""

import pytest

from app.errors import NotAssignee, TaskReadOnly, VersionConflict
from app.operations import (
    OPERATIONS,
    block_task,
    cancel_task,
    claim_task,
    comment_on_task,
    complete_run,
    complete_task,
    create_task,
    fail_run,
    get_task,
    link_tasks,
    list_comments,
    list_task_relations,
    release_run,
    release_task,
    unlink_tasks,
    update_task,
)
from app.rpc import AGENT, Operation
from tests.conftest import Caller, World

VERBS = (complete_task, cancel_task, block_task, release_task)
ENDINGS = (complete_run, fail_run, release_run)
PROBLEM = {"code": "E_ODD", "message": "It did not work."}
FIELDS: dict[str, dict[str, object]] = {"block-task": {"reason": "Waiting."}}


async def two_agents(workspace: World) -> tuple[Caller, Caller, str]:
    """Two agents who share a channel."""
    bot, scout = await workspace.agent("bot"), await workspace.agent("scout")
    return bot, scout, await workspace.channel("build", bot, scout)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
async def test_a_verb_with_the_current_version_takes_effect(workspace: World, verb: Operation) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A", assignee_agent_id=bot.id)
    changed = await bot(verb, task_id=task.id, version=1, **FIELDS.get(verb.name, {}))
    assert changed.version == 2


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
async def test_a_verb_with_a_passed_version_changes_nothing(workspace: World, verb: Operation) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A", assignee_agent_id=bot.id)
    await bot(update_task, task_id=task.id, version=1, title="B")
    with pytest.raises(VersionConflict) as refused:
        await bot(verb, task_id=task.id, version=1, **FIELDS.get(verb.name, {}))
    assert refused.value.retryable is False
    assert await bot(get_task, task_id=task.id) == await bot(
        update_task, task_id=task.id, version=2, title="B"
    )
    assert await bot(list_comments, task_id=task.id) == []


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
async def test_a_verb_without_a_version_takes_the_task_as_it_is(workspace: World, verb: Operation) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A", assignee_agent_id=bot.id)
    await bot(update_task, task_id=task.id, version=1, title="B")
    changed = await bot.post(verb, {"taskId": task.id, "version": None, **FIELDS.get(verb.name, {})})
    assert (changed.version, changed.title) == (3, "B")


async def test_a_verb_that_has_nothing_to_change_still_keeps_to_its_version(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(block_task, task_id=task.id, reason="First.")
    with pytest.raises(VersionConflict):
        await bot(block_task, task_id=task.id, version=1, reason="Second.")
    assert (await bot(block_task, task_id=task.id, version=2, reason="Third.")).version == 2
    assert [comment.body for comment in await bot(list_comments, task_id=task.id)] == ["First.", "Third."]


async def test_a_claim_for_a_passed_version_is_refused_and_takes_nothing(workspace: World) -> None:
    bot, scout, channel = await two_agents(workspace)
    task = await bot(create_task, title="A", channel_id=channel)
    await scout(update_task, task_id=task.id, version=1, title="Something else", priority="low")
    with pytest.raises(VersionConflict) as refused:
        await bot(claim_task, task_id=task.id, version=1)
    details = bot.decoded(refused.value)
    assert [(c.field, c.by.handle) for c in details.changed] == [("priority", "scout"), ("title", "scout")]
    assert (details.current_version, details.mergeable) == (2, True)
    assert "onConflict" not in refused.value.message, "a claim knows no such field"
    assert (await bot(get_task, task_id=task.id)).assignee_agent_id is None
    claim = await bot(claim_task, task_id=task.id, version=2)
    assert claim.task.version == 3
    again = await bot(claim_task, task_id=task.id, version=2)
    assert again.run.id == claim.run.id, "whose answer was lost still holds it"


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda op: op.name)
async def test_a_claim_is_not_ended_for_a_version_that_has_passed(
    workspace: World, ending: Operation
) -> None:
    bot, scout, channel = await two_agents(workspace)
    task = await bot(create_task, title="A", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    more = {"errors": [PROBLEM]} if ending is fail_run else {}
    await scout(update_task, task_id=task.id, version=2, description="Also this.")
    with pytest.raises(VersionConflict) as refused:
        await bot(ending, run_id=claim.run.id, version=2, **more)
    details = bot.decoded(refused.value)
    assert [c.field for c in details.changed] == ["description"]
    assert details.current.description == "Also this."
    ended = await bot(ending, run_id=claim.run.id, version=3, **more)
    assert ended.task.version == 4
    assert (await bot(ending, run_id=claim.run.id, version=3, **more)).task.version == 4, "twice is harmless"


async def test_a_claim_that_others_have_closed_conflicts_over_the_status(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    claim = await bot(claim_task, task_id=task.id)
    await bot(update_task, task_id=task.id, version=2, status="in_review")
    with pytest.raises(VersionConflict) as refused:
        await bot(complete_run, run_id=claim.run.id, version=2, complete_task=True)
    assert [(o.field, o.yours, o.theirs) for o in bot.decoded(refused.value).overlapping] == [
        ("status", "done", "in_review")
    ]


async def test_relations_keep_to_the_version_of_the_task_named_first(workspace: World) -> None:
    bot = await workspace.agent("bot")
    one, other = [await bot(create_task, title=title) for title in ("A", "B")]
    await bot(update_task, task_id=other.id, version=1, title="C")
    edge = {"task_id": other.id, "kind": "related", "other_task_id": one.id}
    for op in (link_tasks, unlink_tasks):
        with pytest.raises(VersionConflict):
            await bot(op, **edge, version=1)
        await bot(op, **edge, version=2)
    assert await bot(list_task_relations, task_id=one.id) == []
    assert (await bot(get_task, task_id=other.id)).version == 2, "relations move no version"


def test_every_verb_that_changes_a_task_takes_a_version() -> None:
    # What adds something beside a task, and what every caller may do at any time, has nothing to overwrite.
    adds = {"create-task", "create-tasks-bulk", "comment-on-task"}
    takes_what_is_there = {"claim-next-task", "heartbeat-run", "append-run-log", "force-release-run"}
    for op in OPERATIONS:
        if op.family is AGENT and op.scope in {"task-write", "operator"} and not op.read_only:
            takes = "version" in op.request.__struct_fields__
            assert takes is (op.name not in adds | takes_what_is_there), op.name


async def test_comments_never_move_the_version(workspace: World) -> None:
    bot, scout, channel = await two_agents(workspace)
    task = await bot(create_task, title="A", channel_id=channel)
    await scout(comment_on_task, task_id=task.id, body="Look, @bot")
    assert (await bot(update_task, task_id=task.id, version=1, title="B")).version == 2


async def test_a_conflict_tells_who_changed_what_and_when(workspace: World) -> None:
    bot, scout, channel = await two_agents(workspace)
    ada = await workspace.user("ada", channels=["general", "build"])
    task = await bot(create_task, title="A", priority="low", channel_id=channel)
    await scout(update_task, task_id=task.id, version=1, title="B")
    await scout(update_task, task_id=task.id, version=2, priority="high", title="C")
    current = await ada(complete_task, task_id=task.id)
    with pytest.raises(VersionConflict) as refused:
        await bot(update_task, task_id=task.id, version=1, title="D", description="More.")
    details = bot.decoded(refused.value)
    assert (details.reason, details.sent_version, details.current_version) == ("version_conflict", 1, 4)
    assert details.current == current
    assert [(c.field, c.was, c.now, c.version, c.by.handle, c.by.kind) for c in details.changed] == [
        ("priority", "low", "high", 3, "scout", "agent"),
        ("title", "A", "C", 3, "scout", "agent"),
        ("completedAt", None, current.completed_at, 4, "ada", "user"),
        ("status", "todo", "done", 4, "ada", "user"),
    ]
    assert details.changed[-1].at == current.updated_at
    assert details.changed[-1].by.id == ada.id
    assert details.mergeable is False
    assert [(o.field, o.yours, o.theirs) for o in details.overlapping] == [("title", "D", "C")]


async def test_a_conflict_over_other_fields_is_called_mergeable(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(update_task, task_id=task.id, version=1, title="B")
    with pytest.raises(VersionConflict) as refused:
        await bot(update_task, task_id=task.id, version=1, description="More.")
    details = bot.decoded(refused.value)
    assert (details.mergeable, details.overlapping) == (True, [])
    assert "onConflict" in refused.value.message


async def test_a_version_that_has_not_been_yet_is_a_conflict_and_no_base_to_merge(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    with pytest.raises(VersionConflict) as refused:
        await bot(update_task, task_id=task.id, version=7, title="B", on_conflict="merge")
    details = bot.decoded(refused.value)
    assert (details.mergeable, details.changed, details.current_version) == (False, [], 1)


async def test_a_change_to_untouched_fields_is_merged_and_the_answer_says_so(workspace: World) -> None:
    bot, scout, channel = await two_agents(workspace)
    task = await bot(create_task, title="A", channel_id=channel)
    await scout(update_task, task_id=task.id, version=1, title="B")
    await scout(comment_on_task, task_id=task.id, body="Renamed it.")
    merged = await bot(update_task, task_id=task.id, version=1, description="More.", on_conflict="merge")
    assert (merged.version, merged.title, merged.description) == (3, "B", "More.")
    assert bot.aside == {"baton-merged-from": "1"}
    await bot(update_task, task_id=task.id, version=3, description="Most.", on_conflict="merge")
    assert bot.aside == {}, "nothing had to be merged"


async def test_a_touched_field_is_not_merged_even_if_it_has_its_old_value_again(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(update_task, task_id=task.id, version=1, title="B")
    await bot(update_task, task_id=task.id, version=2, title="A")
    with pytest.raises(VersionConflict) as refused:
        await bot(update_task, task_id=task.id, version=1, title="C", priority="low", on_conflict="merge")
    assert [(o.field, o.yours, o.theirs) for o in bot.decoded(refused.value).overlapping] == [
        ("title", "C", "A")
    ]
    assert (await bot(get_task, task_id=task.id)).version == 3


async def test_the_two_kinds_of_assignee_are_one_place(workspace: World) -> None:
    bot, scout, channel = await two_agents(workspace)
    ada = await workspace.user("ada")
    task = await bot(create_task, title="A", channel_id=channel)
    await scout(update_task, task_id=task.id, version=1, assignee_agent_id=scout.id)
    with pytest.raises(VersionConflict) as refused:
        await bot(update_task, task_id=task.id, version=1, assignee_user_id=ada.id, on_conflict="merge")
    assert [(o.field, o.yours, o.theirs) for o in bot.decoded(refused.value).overlapping] == [
        ("assigneeAgentId", None, scout.id)
    ]
    with pytest.raises(VersionConflict):
        await bot(update_task, task_id=task.id, version=1, assignee_user_id=None, on_conflict="merge")


async def test_the_stamps_follow_the_status(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(update_task, task_id=task.id, version=1, status="in_progress")
    with pytest.raises(VersionConflict) as refused:
        await bot(complete_task, task_id=task.id, version=1, on_conflict="merge")
    assert [o.field for o in bot.decoded(refused.value).overlapping] == ["status"]


async def test_a_verb_can_be_merged_too(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A", assignee_agent_id=bot.id)
    await bot(update_task, task_id=task.id, version=1, title="B")
    blocked = await bot(block_task, task_id=task.id, version=1, reason="Stuck.", on_conflict="merge")
    assert (blocked.version, blocked.title, blocked.status) == (3, "B", "blocked")
    assert bot.aside == {"baton-merged-from": "1"}
    released = await bot(release_task, task_id=task.id, version=2, on_conflict="merge")
    assert (released.version, released.assignee_agent_id) == (4, None)


async def test_a_merge_that_would_change_nothing_writes_nothing(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    current = await bot(update_task, task_id=task.id, version=1, title="B")
    assert await bot(update_task, task_id=task.id, version=1, priority="none", on_conflict="merge") == current
    assert bot.aside == {}


async def test_a_merge_opens_no_door_that_a_plain_call_would_find_closed(workspace: World) -> None:
    bot, scout, channel = await two_agents(workspace)
    reader = await workspace.agent("reader", channels=[])
    await workspace.join("build", reader, role="reader")
    task = await bot(create_task, title="A", channel_id=channel, assignee_agent_id=bot.id)
    await bot(update_task, task_id=task.id, version=1, title="B")
    with pytest.raises(TaskReadOnly):
        await reader(update_task, task_id=task.id, version=1, priority="low", on_conflict="merge")
    with pytest.raises(NotAssignee):
        await scout(release_task, task_id=task.id, version=1, on_conflict="merge")


async def test_moving_a_task_can_be_merged(workspace: World) -> None:
    bot = await workspace.agent("bot")
    parent, task = await bot(create_task, title="Parent"), await bot(create_task, title="A")
    await bot(update_task, task_id=task.id, version=1, title="B")
    moved = await bot(update_task, task_id=task.id, version=1, parent_task_id=parent.id, on_conflict="merge")
    assert (moved.version, moved.title, moved.parent_task_id) == (3, "B", parent.id)


async def test_who_is_more_than_a_thousand_versions_behind_must_read_anew(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    for version in range(1, 1002):
        await bot(update_task, task_id=task.id, version=version, title=f"A{version}")
    merged = await bot(update_task, task_id=task.id, version=2, priority="low", on_conflict="merge")
    assert merged.version == 1003
    with pytest.raises(VersionConflict) as refused:
        await bot(update_task, task_id=task.id, version=2, description="More.", on_conflict="merge")
    details = bot.decoded(refused.value)
    assert (details.mergeable, [c.field for c in details.changed]) == (False, ["title", "priority"])
