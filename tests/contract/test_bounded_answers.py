"""No answer grows without bound: a list has pages, or something keeps it short."""

from typing import Final

import msgspec
from msgspec import inspect

from app.operations import OPERATIONS, create_task, link_tasks, list_task_relations, unlink_tasks
from app.rpc import Operation
from tests.conftest import World

SHORT: Final = {
    "create-tasks-bulk": "as many as were sent, at most 50",
    "claim-next-task": "as many as were asked for, at most 10",
    "link-tasks": "what there is between two tasks: one of each kind and direction at most",
    "unlink-tasks": "the same",
    "get-channels": "the contract has no pages here; members see their own channels",
    "Me.channels": "the same",
    "Me.scopes": "there are thirteen",
    "ChannelManifest.members": "MANIFEST_MEMBERS_MAX",
    "Activity.changes": "the fields of a task",
    "HistoryEntry.changes": "the fields of a task",
    "InboxChange.fields": "the fields of a task",
    "TaskRecord.children": "CHILDREN_COUNT_MAX",
    "TaskRecord.errors": "what a request may hold",
    "Run.errors": "what a request may hold",
    "PreviousRun.errors": "what a request may hold",
    "Claim.previousRuns": "the latest three",
    "Explanation.obstacles": "one of each kind",
    "Obstacle.blockers": "BLOCKERS_SHOWN_MAX",
    "Obstacle.helps": "the operations that help",
    "YourChannel.members": "20 handles",
    "You.channels": "20 channels",
    "Inbox.changes": "INBOX limits",
    "Inbox.channelTasks": "INBOX limits",
    "Inbox.lostClaims": "INBOX limits",
    "Inbox.claims": "INBOX limits",
    "Inbox.forReview": "INBOX limits",
    "Inbox.mentions": "INBOX limits",
    "Inbox.notAllowed": "one word for each part",
    "Inbox.openTasks": "INBOX limits",
    "Remarks.last": "COMMENTS_MAX",
    "TaskInFull.blockers": "BLOCKERS_MAX",
    "TaskInFull.relations": "RELATIONS_MAX",
    "Message.attachments": "always empty",
    "Message.reactions": "always empty",
    "MessageReaction.userIds": "always empty",
    "TaskComment.mentions": "MENTIONS_MAX",
    "State.variables": "what a request may hold",
    "StateScope.parentIds": "always empty",
    "StateVariable.groupIds": "what a request may hold",
    "StateVariable.tags": "what a request may hold",
}
"""Every list in an answer that has no pages of its own, and what keeps it short."""

PAGED_INSIDE: Final = {
    "ChannelMembersPage.members",
    "MessagesPage.messages",
    "SearchMessagesResponse.messages",
    "SearchTasksResponse.tasks",
    "UnreadMentionsResponse.mentions",
}
"""Lists in an object of their own, which `limit` bounds."""


def lists_in(op: Operation) -> set[str]:
    """The lists in the answer of an operation, without those that have pages."""
    found: set[str] = set()

    def walk(kind: inspect.Type, name: str, seen: frozenset[type]) -> None:
        match kind:
            case inspect.Metadata(type=inner):
                walk(inner, name, seen)
            case inspect.UnionType(types=kinds):
                for inner in kinds:
                    walk(inner, name, seen)
            case inspect.ListType(item_type=item):
                if not (op.paged and name == op.name):
                    found.add(name)
                walk(item, f"{name}[]", seen)
            case inspect.StructType(cls=cls, fields=fields) if cls not in seen:
                for field in fields:
                    walk(field.type, f"{cls.__name__}.{field.encode_name}", seen | {cls})
            case _:
                pass

    walk(inspect.type_info(op.result), op.name, frozenset())
    return found


def test_every_list_in_an_answer_has_pages_or_is_short() -> None:
    lists = set().union(*(lists_in(op) for op in OPERATIONS))
    assert lists - PAGED_INSIDE == set(SHORT)
    for op in OPERATIONS:
        if lists_in(op) & PAGED_INSIDE:
            assert "limit" in {field.encode_name for field in msgspec.structs.fields(op.request)}, op.name


async def test_a_link_is_answered_with_what_is_between_the_two_however_many_there_are(
    workspace: World,
) -> None:
    bot = await workspace.agent()
    hub, *others = [await bot(create_task, title=str(number)) for number in range(6)]
    for other in others:
        [relation] = await bot(link_tasks, task_id=hub.id, kind="blocks", other_task_id=other.id)
        assert (relation.kind, relation.task.id) == ("blocks", other.id)
    again = await bot(link_tasks, task_id=hub.id, kind="blocks", other_task_id=others[0].id)
    assert [relation.task.id for relation in again] == [others[0].id]
    both = await bot(link_tasks, task_id=hub.id, kind="related", other_task_id=others[0].id)
    assert [relation.kind for relation in both] == ["blocks", "related"]
    left = await bot(unlink_tasks, task_id=hub.id, kind="blocks", other_task_id=others[0].id)
    assert [relation.kind for relation in left] == ["related"]
    assert await bot(unlink_tasks, task_id=hub.id, kind="related", other_task_id=others[0].id) == []


async def test_relations_have_pages_that_show_each_once_oldest_first(workspace: World) -> None:
    bot = await workspace.agent()
    hub, *others = [await bot(create_task, title=str(number)) for number in range(8)]
    for number, other in enumerate(others):
        first, second = (hub, other) if number % 2 else (other, hub)
        await bot(link_tasks, task_id=first.id, kind="blocks", other_task_id=second.id)
    seen: list[str] = []
    cursor = None
    while True:
        page = await bot(list_task_relations, task_id=hub.id, limit=3, cursor=cursor)
        seen += [relation.task.id for relation in page]
        assert len(page) <= 3
        if not page.has_more:
            break
        cursor = page.cursor
    assert seen == [other.id for other in others]
    blocked = await bot(list_task_relations, task_id=hub.id, kind="blocked_by")
    assert [relation.task.id for relation in blocked] == [other.id for other in others[::2]]
