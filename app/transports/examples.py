"""One example of every operation and of every error, for the documents.

The examples of the operations are a story: called one after the other in a workspace where T-41 was the last
task, they are what is sent and what comes back. A test plays it, so the examples are true.
"""

from dataclasses import dataclass
from typing import Any, Final, get_args

import msgspec
from msgspec.structs import replace

from app.db import Encoded
from app.errors import (
    AlreadyExists,
    ApiError,
    AttachmentNotFound,
    BlockerHidden,
    ChannelArchived,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    Contended,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    IdentityNotFound,
    InternalError,
    InvalidInput,
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    LastAdmin,
    MemberNotFound,
    MemberRemoved,
    MessageNotFound,
    NotAssigned,
    NotAssignee,
    NotYoursToShow,
    Overloaded,
    ParentCycle,
    ScopeMissing,
    SoleMember,
    TaskNotFound,
    TaskReadOnly,
    TimedOut,
    VersionConflict,
    VersionNotFound,
)
from app.operations.channels.channel import Channel
from app.operations.channels.directory import (
    ChannelManifest,
    ChannelManifestMember,
    ChannelMemberAgent,
    ChannelMemberHuman,
    ChannelMembersPage,
    Membership,
)
from app.operations.channels.membership import Departure
from app.operations.inbox import Inbox, LeftOut
from app.operations.mentions import Mention
from app.operations.messages.message import Message, MessageOutput, MessageSummary
from app.operations.messages.reading import MessagesPage
from app.operations.messages.send import ArtifactRef
from app.operations.messages.unread import MentionSummary, UnreadMentionsResponse
from app.operations.requests import RequestOutcome
from app.operations.search import MessageSearchHit, SearchMessagesResponse, SearchTasksResponse, TaskSearchHit
from app.operations.tasks.comment import TaskComment
from app.operations.tasks.conflict import Author, ChangedField, OverlappingField
from app.operations.tasks.history import Activity, FieldChange, HistoryEntry, TaskName
from app.operations.tasks.task import Task
from app.operations.workspace import Me, MyChannel, ResolvedIdentity, VerifyConnectionResult, WorkspaceInfo
from app.rpc import AGENT, Excerpt, Family, Page, Result
from app.transports import envelope
from app.transports.examples_runs import ADA, GENERAL, MOMENT, RUN_ERRORS, RUN_EXAMPLES, SCOUT, WORKSPACE
from app.types import Scope

REQUEST_ID: Final = "3f9c1a7be042-17"
TOKEN: Final = "verify_Jx3mQv0p7Zk2Yc9Wd5Ub1Tn4"  # noqa: S105  an example, good for nothing


@dataclass(frozen=True)
class Example:
    """What to send to an operation, in wire names, and what comes back."""

    request: dict[str, object]
    result: Result
    by: str = "scout"  # who calls; agents cannot manage channels, so their owner does


T42: Final = Task(
    id="019cadf1-2e40-7000-8000-000000000042",
    identifier="T-42",
    workspace_id=WORKSPACE,
    title="Rotate the signing keys",
    description="The old ones expire in April. Keep both until the caches have turned over.",
    status="todo",
    priority="high",
    version=1,
    due_at="2026-03-31T17:00:00.000Z",
    assignee_user_id=None,
    assignee_agent_id=None,
    created_by_user_id=None,
    created_by_agent_id=SCOUT,
    parent_task_id=None,
    channel_id=GENERAL,
    origin_message_id=None,
    origin_extraction_id=None,
    started_at=None,
    completed_at=None,
    cancelled_at=None,
    archived_at=None,
    created_at=MOMENT,
    updated_at=MOMENT,
    deleted_at=None,
)
_PART: Final = replace(
    T42, parent_task_id=T42.id, description=None, priority="none", due_at=None, channel_id=None
)
T43: Final = replace(
    _PART,
    id="019cadf1-2e40-7000-8000-000000000043",
    identifier="T-43",
    title="Write the runbook",
    assignee_agent_id=SCOUT,
)
T44: Final = replace(
    _PART,
    id="019cadf1-2e40-7000-8000-000000000044",
    identifier="T-44",
    title="Tell the customers",
    assignee_user_id=ADA,
)
CLAIMED: Final = replace(T42, version=2, status="in_progress", assignee_agent_id=SCOUT, started_at=MOMENT)
FINISHED: Final = replace(CLAIMED, version=3, status="done", completed_at=MOMENT)
_SCOUT: Final = Author(id=SCOUT, kind="agent", handle="scout")
BLOCKED: Final = replace(T43, version=2, status="blocked")

REMARK: Final = TaskComment(
    id="019cadf1-2e40-7000-8000-000000000101",
    task_id=T43.id,
    author_user_id=None,
    author_agent_id=SCOUT,
    body="Waiting for @ada to say where runbooks live.",
    parent_comment_id=None,
    resolved_at=None,
    mentions=[Mention(id=ADA, type="user")],
    created_at=MOMENT,
    updated_at=MOMENT,
    deleted_at=None,
)

ANSWER: Final = replace(
    REMARK,
    id="019cadf1-2e40-7000-8000-000000000102",
    task_id=T42.id,
    body="Done, @ada: both keys are live.",
)

_encode: Final = msgspec.json.encode


def _page(*items: object, cursor: str | None = None, total: int | None = None) -> Page[object]:
    return Page(Encoded(_encode(items)), cursor, total)


def _excerpt(data: object, *, has_more: bool = False, cursor: str | None = None) -> Excerpt[object]:
    return Excerpt(Encoded(_encode(data)), has_more, cursor, None)


KEYS: Final = "019cadf1-2e40-7000-8000-000000000201"
KEYS_CHANNEL: Final = Channel(id=KEYS, name="keys", purpose="Rotating the signing keys", type="public")
PLAN: Final = Message(
    id="019cadf1-2e40-7000-8000-000000000301",
    channel_id=GENERAL,
    parent_id=None,
    sender_type="agent",
    sender_id=SCOUT,
    content="@ada, which caches hold the old key?",
    metadata={},
    is_edited=False,
    version=1,
    reply_count=0,
    reactions=[],
    attachments=[],
    created_at=MOMENT,
    updated_at=MOMENT,
    deleted_at=None,
)
_MEMBERSHIP: Final = Membership(
    member_id=SCOUT, member_type="agent", handle="scout", name="Scout", role="poster", joined_at=MOMENT
)

EXAMPLES: Final[dict[str, Example]] = {
    "create-task": Example(
        {
            "title": T42.title,
            "description": T42.description,
            "priority": "high",
            "dueAt": "2026-03-31T17:00:00Z",
            "channelId": GENERAL,
        },
        T42,
    ),
    "create-tasks-bulk": Example(
        {
            "tasks": [
                {"title": T43.title, "parentTaskId": "T-42", "assigneeAgentId": SCOUT},
                {"title": T44.title, "parentTaskId": "T-42", "assigneeUserId": ADA},
            ],
            "summaryChannelId": GENERAL,
        },
        Encoded(_encode([T43, T44])),
    ),
    "get-task": Example({"taskId": "T-42"}, T42),
    "list-tasks": Example(
        {"status": ["open"], "query": "signing", "limit": 10, "includeTotal": True}, _page(T42, total=1)
    ),
    "list-my-tasks": Example(
        {"status": ["open"], "fields": ["identifier", "title", "priority", "version"], "limit": 10},
        _page({"identifier": "T-43", "title": T43.title, "priority": "none", "version": 1}),
    ),
    "update-task": Example(
        {"taskId": "T-42", "version": 1, "status": "in_progress", "assigneeAgentId": SCOUT}, CLAIMED
    ),
    "complete-task": Example(
        {"taskId": "T-42"}, replace(CLAIMED, version=3, status="done", completed_at=MOMENT)
    ),
    "cancel-task": Example(
        {"taskId": "T-44", "reason": "Only we use these keys."},
        replace(T44, version=2, status="cancelled", cancelled_at=MOMENT),
    ),
    "block-task": Example({"taskId": "T-43", "reason": REMARK.body}, BLOCKED),
    "release-task": Example({"taskId": "T-43"}, replace(BLOCKED, version=3, assignee_agent_id=None)),
    "comment-on-task": Example({"taskId": "T-42", "body": ANSWER.body, "idempotencyKey": "tell-ada"}, ANSWER),
    "list-comments": Example({"taskId": "T-43"}, _page(REMARK)),
    "list-task-history": Example(
        {"taskId": "T-44"},
        _page(
            HistoryEntry(
                by=_SCOUT,
                at=MOMENT,
                request_id=REQUEST_ID,
                kind="commented",
                version=2,
                changes=[],
                comment_id="019cadf1-2e40-7000-8000-000000000103",
                comment="Only we use these keys.",
            ),
            HistoryEntry(
                by=_SCOUT,
                at=MOMENT,
                request_id=REQUEST_ID,
                kind="cancelled",
                version=2,
                changes=[
                    FieldChange(field="cancelledAt", was=None, now=MOMENT),
                    FieldChange(field="status", was="todo", now="cancelled"),
                ],
                comment_id=None,
                comment=None,
            ),
            HistoryEntry(
                by=_SCOUT,
                at=MOMENT,
                request_id=REQUEST_ID,
                kind="created",
                version=1,
                changes=[
                    FieldChange(field="assigneeUserId", was=None, now=ADA),
                    FieldChange(field="parentTaskId", was=None, now=T42.id),
                    FieldChange(field="priority", was=None, now="none"),
                    FieldChange(field="status", was=None, now="todo"),
                    FieldChange(field="title", was=None, now=T44.title),
                ],
                comment_id=None,
                comment=None,
            ),
        ),
    ),
    "list-my-activity": Example(
        {"limit": 1},
        _page(
            Activity(
                by=_SCOUT,
                at=MOMENT,
                request_id=REQUEST_ID,
                kind="commented",
                version=3,
                changes=[],
                comment_id=ANSWER.id,
                comment=ANSWER.body,
                task=TaskName(id=T42.id, identifier="T-42", title=T42.title),
            ),
            cursor="4711",
        ),
    ),
    "get-request-outcome": Example(
        {"idempotencyKey": "tell-ada"},
        RequestOutcome(
            idempotency_key="tell-ada",
            state="done",
            operation="comment-on-task",
            status=200,
            data=ANSWER,
            error=None,
            merged_from=None,
            request_id=REQUEST_ID,
            answered_at=MOMENT,
        ),
    ),
    **{name: Example(request, result) for name, (request, result) in RUN_EXAMPLES.items()},
    "get-me": Example(
        {},
        Me(
            id=SCOUT,
            kind="agent",
            handle="scout",
            name="Scout",
            workspace_id=WORKSPACE,
            workspace_slug="acme",
            owner_id=ADA,
            scopes=sorted(get_args(Scope)),
            channels=[MyChannel(id=GENERAL, name="general", role="poster")],
        ),
    ),
    "get-workspace-info": Example(
        {},
        WorkspaceInfo(
            id=WORKSPACE,
            name="Acme",
            slug="acme",
            created_at=MOMENT,
            member_count=1,
            channel_count=2,
            agent_count=1,
        ),
    ),
    "resolve-identity": Example(
        {"handle": "@ada"}, ResolvedIdentity(id=ADA, kind="user", display_name="Ada", handle="ada")
    ),
    "verify-connection": Example(
        {"token": TOKEN},
        VerifyConnectionResult(
            ok=True,
            message="The connection works.",
            verified_at=MOMENT,
            agent_id=SCOUT,
            workspace_id=WORKSPACE,
        ),
    ),
    "get-channels": Example(
        {}, Encoded(_encode([Channel(id=GENERAL, name="general", purpose=None, type="public")]))
    ),
    "get-channel-members": Example(
        {"channelId": GENERAL},
        _excerpt(
            ChannelMembersPage(
                members=[
                    ChannelMemberHuman(id=ADA, name="Ada", handle="ada"),
                    ChannelMemberAgent(id=SCOUT, name="Scout", handle="scout", agent_type="local"),
                ],
                has_more=False,
                cursor=None,
            )
        ),
    ),
    "list-channel-members": Example(
        {"channelId": GENERAL},
        _page(
            Membership(
                member_id=ADA, member_type="human", handle="ada", name="Ada", role="admin", joined_at=MOMENT
            ),
            _MEMBERSHIP,
        ),
    ),
    "get-channel-manifest": Example(
        {"channelId": GENERAL},
        ChannelManifest(
            id=GENERAL,
            name="general",
            purpose=None,
            type="public",
            domain=None,
            iris_enabled=False,
            members=[
                ChannelManifestMember(member_id=ADA, member_type="human", joined_at=MOMENT),
                ChannelManifestMember(member_id=SCOUT, member_type="agent", joined_at=MOMENT),
            ],
            recent_message_count=4,
        ),
    ),
    "create-channel": Example({"name": "keys", "purpose": "Rotating the signing keys"}, KEYS_CHANNEL),
    "rename-channel": Example(
        {"channelId": KEYS, "name": "signing-keys"}, replace(KEYS_CHANNEL, name="signing-keys"), by="ada"
    ),
    "archive-channel": Example(
        {"channelId": KEYS, "archived": False}, replace(KEYS_CHANNEL, name="signing-keys"), by="ada"
    ),
    "join-channel": Example({"channelId": KEYS}, replace(KEYS_CHANNEL, name="signing-keys")),
    "leave-channel": Example({"channelId": KEYS}, Departure(channel_id=KEYS, member_id=SCOUT)),
    "add-channel-member": Example(
        {"channelId": KEYS, "memberId": SCOUT, "role": "reader"},
        replace(_MEMBERSHIP, role="reader"),
        by="ada",
    ),
    "set-channel-member-role": Example(
        {"channelId": KEYS, "memberId": SCOUT, "role": "poster"}, _MEMBERSHIP, by="ada"
    ),
    "remove-channel-member": Example(
        {"channelId": KEYS, "memberId": SCOUT}, Departure(channel_id=KEYS, member_id=SCOUT), by="ada"
    ),
    "send-message": Example({"channelId": GENERAL, "content": PLAN.content}, PLAN),
    "get-messages": Example(
        {"channelId": GENERAL, "limit": 1},
        _excerpt(
            MessagesPage(
                messages=[
                    MessageSummary(
                        id=PLAN.id,
                        parent_id=None,
                        sender_type="agent",
                        sender_id=SCOUT,
                        content=PLAN.content,
                        metadata={},
                        reply_count=0,
                        created_at=MOMENT,
                    )
                ],
                has_more=True,
            ),
            has_more=True,
        ),
    ),
    "create-artifact": Example(
        {"channelId": GENERAL, "name": "caches.md", "type": "markdown", "content": "- edge\n- gateway"},
        ArtifactRef(message_id="019cadf1-2e40-7000-8000-000000000302", name="caches.md", type="markdown"),
    ),
    "flag-needs-human": Example(
        {"messageId": PLAN.id, "reason": "Only Ada knows the edge."},
        replace(
            PLAN,
            version=2,
            metadata={
                "needsHuman": True,
                "needsHumanAt": MOMENT,
                "needsHumanBy": SCOUT,
                "needsHumanReason": "Only Ada knows the edge.",
            },
        ),
    ),
    "post-message": Example(
        {
            "channel_id": GENERAL,
            "content": "The gateway is done.",
            "parent_message_id": PLAN.id,
            "kind": "progress",
        },
        MessageOutput(
            id="019cadf1-2e40-7000-8000-000000000303",
            channel_id=GENERAL,
            thread_id=PLAN.id,
            author_identity_id=SCOUT,
            kind="progress",
            content="The gateway is done.",
            metadata={},
            created_at=MOMENT,
            version=1,
        ),
    ),
    "get-unread-mentions": Example(
        {"limit": 1},
        _excerpt(
            UnreadMentionsResponse(
                mentions=[
                    MentionSummary(
                        id=PLAN.id,
                        channel_id=GENERAL,
                        channel_name="general",
                        parent_id=None,
                        sender_type="agent",
                        sender_id=SCOUT,
                        content=PLAN.content,
                        created_at=MOMENT,
                    )
                ],
                count=4,
            ),
            has_more=True,
        ),
        by="ada",
    ),
    "get-inbox": Example(
        {"maxBytes": 4000},
        Inbox(
            claims=[],
            open_tasks=[],
            mentions=[],
            for_review=[],
            changes=[],
            cursor="748-0",
            left_out=LeftOut(claims=0, open_tasks=0, mentions=0, for_review=0, changes=0),
            not_allowed=[],
        ),
    ),
    "search-messages": Example(
        {"query": "caches -gateway"},
        _excerpt(
            SearchMessagesResponse(
                messages=[
                    MessageSearchHit(
                        id=PLAN.id,
                        channel_id=GENERAL,
                        sender_type="agent",
                        sender_id=SCOUT,
                        content=PLAN.content,
                        created_at=MOMENT,
                        rank=0.06079271,
                    )
                ]
            )
        ),
    ),
    "search-tasks": Example(
        {"query": '"signing keys"', "limit": 5},
        _excerpt(SearchTasksResponse(tasks=[TaskSearchHit(task=FINISHED, rank=0.99602604)])),
    ),
}

_ERRORS: Final[tuple[ApiError, ...]] = (
    InvalidInput("`title`: Expected text, got a whole number.", field="title"),
    KeyMissing(),
    KeyInvalid(),
    KeyExpired(),
    KeyRevoked(),
    ScopeMissing("task-write"),
    TaskReadOnly(),
    NotYoursToShow(),
    BlockerHidden(),
    MemberRemoved(),
    LastAdmin(),
    NotAssignee(),
    ChannelNotMember(GENERAL),
    ChannelNotAdmin(),
    TaskNotFound("T-999"),
    VersionNotFound(version=9, current_version=3),
    IdentityNotFound("@eve", field="handle"),
    ChannelNotFound("019c2f60-5a00-7000-8000-0000000000ff"),
    VersionConflict(
        sent=1,
        current_version=2,
        current=CLAIMED,
        mergeable=False,
        changed=[
            ChangedField(field=field, was=was, now=now, version=2, by=_SCOUT, at=MOMENT)
            for field, was, now in (
                ("assigneeAgentId", None, SCOUT),
                ("startedAt", None, MOMENT),
                ("status", "todo", "in_progress"),
            )
        ],
        overlapping=[OverlappingField(field="status", yours="blocked", theirs="in_progress")],
        knows_merge=True,
    ),
    MemberNotFound(ADA),
    MessageNotFound("019cadf1-2e40-7000-8000-0000000003ff"),
    AttachmentNotFound("diagram"),
    NotAssigned(),
    IdempotencyKeyReused("create-task"),
    ParentCycle(),
    ChannelArchived("keys"),
    SoleMember(),
    AlreadyExists("channel", "keys"),
    InternalError(),
    DatabaseUnavailable(),
    TimedOut(),
    Overloaded(),
    Contended(),
    *RUN_ERRORS,
)
ERRORS: Final[dict[type[ApiError], ApiError]] = {type(error): error for error in _ERRORS}


def answer(result: Result) -> dict[str, Any]:  # Any: JSON
    """The whole answer with this result, as it goes over the wire, at the moment of the story."""
    return _at_the_moment(envelope.success(result, REQUEST_ID))


def refusal(error: type[ApiError], family: Family = AGENT) -> dict[str, Any]:  # Any: JSON
    """The whole answer with an error of this class."""
    return _at_the_moment(envelope.failure(ERRORS[error], REQUEST_ID, family))


def _at_the_moment(body: bytes) -> dict[str, Any]:
    whole = msgspec.json.decode(body, type=dict[str, Any])
    if "meta" in whole:
        whole["meta"]["timestamp"] = MOMENT
    return whole
