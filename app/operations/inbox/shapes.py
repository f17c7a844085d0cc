"""What an inbox says: its sections and their items."""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from app.operations.messages.message import SenderType
from app.operations.runs.run import EndReason
from app.operations.tasks.history import EventKind
from app.rpc import Answer
from app.types import ActorKind, IdentityKind, TaskPriority, TaskStatus, Timestamp

Waker = Literal["claimable", "mention", "answer", "held"]
ReviewReason = Literal["created_by_you", "in_your_channel"]


class InboxClaim(Answer):
    """A claim of yours that lives, in short."""

    brief: ClassVar[tuple[str, ...]] = ("runId", "identifier", "title", "secondsLeft", "progress", "note")

    run_id: Annotated[str, Meta(description="The run: heartbeat-run keeps it, release-run gives it back.")]
    task_id: Annotated[str, Meta(description="The task you hold.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="What is to be done.")]
    lease_expires_at: Annotated[
        Timestamp, Meta(description="When you lose it unless there is a sign of life before.")
    ]
    seconds_left: Annotated[int, Meta(description="Whole seconds until then.")]
    progress: Annotated[float | None, Meta(description="How far you said you are, 0 to 1.")]
    note: Annotated[str | None, Meta(description="What you last reported, at most 500 characters of it.")]


class InboxLoss(Answer):
    """A claim that you lost, in short."""

    brief: ClassVar[tuple[str, ...]] = ("runId", "identifier", "title", "status", "holder", "reason")

    run_id: Annotated[str, Meta(description="The run. Nothing can be written under it any more.")]
    task_id: Annotated[str, Meta(description="The task it was about.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="What is to be done.")]
    status: Annotated[TaskStatus, Meta(description="Where the task stands now.")]
    holder: Annotated[str | None, Meta(description="Who has it now, by handle; null if nobody does.")]
    reason: Annotated[EndReason, Meta(description="How you lost it.")]
    ended_at: Annotated[Timestamp, Meta(description="When.")]


class InboxTask(Answer):
    """A task in short."""

    brief: ClassVar[tuple[str, ...]] = ("identifier", "title", "status", "priority", "version", "dueAt")

    id: Annotated[str, Meta(description="Its id.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="What is to be done.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]
    priority: Annotated[TaskPriority, Meta(description="How urgent it is.")]
    version: Annotated[int, Meta(description="The optimistic lock: send it with your next update.")]
    due_at: Annotated[Timestamp | None, Meta(description="When it is due.")]
    updated_at: Annotated[Timestamp, Meta(description="When it last changed.")]


class InboxReview(InboxTask):
    """A task in review, which somebody else has done."""

    brief: ClassVar[tuple[str, ...]] = ("identifier", "title", "version", "holder", "why")

    holder: Annotated[str | None, Meta(description="Who has it, by handle; null if nobody does.")]
    why: Annotated[ReviewReason, Meta(description="Why you are one who can review it.")]


class ChannelTask(Answer):
    """An open task in one of your channels, in short."""

    brief: ClassVar[tuple[str, ...]] = (
        "identifier",
        "title",
        "status",
        "priority",
        "channel",
        "holder",
        "openBlockers",
    )

    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="What is to be done.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]
    priority: Annotated[TaskPriority, Meta(description="How urgent it is.")]
    version: Annotated[int, Meta(description="The optimistic lock: send it with your next update.")]
    channel: Annotated[str, Meta(description="The channel, by name.")]
    holder: Annotated[str | None, Meta(description="Who has it, by handle; null if nobody does.")]
    open_blockers: Annotated[int, Meta(description="How many open tasks it waits for.")]


class InboxMention(Answer):
    """Something that waits for your answer, in short."""

    brief: ClassVar[tuple[str, ...]] = ("id", "placeId", "channelName", "senderHandle", "preview")

    id: Annotated[str, Meta(description="The message, or the comment.")]
    place_id: Annotated[
        str, Meta(description="Where an answer belongs: the `threadId` for send-message, or the task.")
    ]
    channel_id: Annotated[str | None, Meta(description="The channel; null if it is a comment on a task.")]
    channel_name: Annotated[
        str, Meta(description="The channel's name, or the task's identifier such as `T-42`.")
    ]
    sender_type: Annotated[SenderType, Meta(description="Who spoke.")]
    sender_id: Annotated[str, Meta(description="Their id.")]
    sender_handle: Annotated[str, Meta(description="Their handle; `baton`: the service itself.")]
    preview: Annotated[str, Meta(description="The first 1,000 characters of what it says.")]
    created_at: Annotated[Timestamp, Meta(description="When it was said.")]


class InboxChange(Answer):
    """Something that was done to a task you can see."""

    brief: ClassVar[tuple[str, ...]] = ("identifier", "kind", "fields", "actorHandle")

    task_id: Annotated[str, Meta(description="The task.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="Its title as it is now.")]
    kind: EventKind
    version: Annotated[int, Meta(description="The task's version after it.")]
    fields: Annotated[list[str], Meta(description="Which fields changed.")]
    actor_id: Annotated[str, Meta(description="Who did it; all zeros for the service itself.")]
    actor_type: Annotated[
        ActorKind, Meta(description="What they are; `system`: nobody, such as a lease that ran out.")
    ]
    actor_handle: Annotated[str, Meta(description="Their handle; `baton`: the service itself.")]
    at: Annotated[Timestamp, Meta(description="When.")]


SectionName = Literal["claims", "lostClaims", "openTasks", "mentions", "forReview", "channelTasks", "changes"]


class LeftOut(Answer):
    """How many of each are not listed, for want of room; 1000 means that or more."""

    claims: Annotated[int, Meta(description="Your live claims: list-runs with `mine` and `live` has them.")]
    lost_claims: Annotated[int, Meta(description="Claims you lost: say that you have `seen` the others.")]
    open_tasks: Annotated[int, Meta(description="Your open tasks: list-my-tasks has them.")]
    mentions: Annotated[int, Meta(description="What waits for an answer: get-unread-mentions has it.")]
    for_review: Annotated[
        int, Meta(description="Tasks for your review: list-tasks with `status=in_review` has them.")
    ]
    channel_tasks: Annotated[
        int, Meta(description="Open tasks of your channels: list-tasks with `status=open` has them.")
    ]
    changes: Annotated[
        int,
        Meta(description="Changes among the next 2,000 events: call again with the `cursor` of this answer."),
    ]


class YourChannel(Answer, omit_defaults=True):
    """A channel you are in, and who else is."""

    name: Annotated[str, Meta(description="Its name, without `#`.")]
    members: Annotated[
        list[str] | UnsetType, Meta(description="The handles of the others in it; 20 at most.")
    ] = UNSET


class You(Answer):
    """Who you are, and whom you work with. `@handle` and `#channel` do wherever an id does."""

    handle: Annotated[str, Meta(description="Your handle.")]
    kind: Annotated[IdentityKind, Meta(description="Whether you are a user or an agent.")]
    channels: Annotated[list[YourChannel], Meta(description="Your channels, by name; 20 at most.")]


class Inbox(Answer, omit_defaults=True):
    """What waits for you."""

    claims: Annotated[list[InboxClaim], Meta(description="Your live claims, the next to expire first.")]
    lost_claims: Annotated[
        list[InboxLoss],
        Meta(description="Claims you lost and have not said that you have `seen`, the latest first."),
    ]
    open_tasks: Annotated[list[InboxTask], Meta(description="Your open tasks, the most urgent first.")]
    mentions: Annotated[list[InboxMention], Meta(description="What waits for your answer, the newest first.")]
    for_review: Annotated[
        list[InboxReview],
        Meta(
            description="Tasks in review that somebody else has, which you created or which stand in a channel you post "
            "in: read one, then set it `done`, or `todo` with a comment. Oldest first."
        ),
    ]
    channel_tasks: Annotated[
        list[ChannelTask],
        Meta(
            description="Without a `cursor`: the open tasks of your channels, but for yours, the most urgent first."
        ),
    ]
    changes: Annotated[
        list[InboxChange],
        Meta(
            description="What others did since your `cursor`, in order; without one the last ten changes, yours too."
        ),
    ]
    cursor: Annotated[
        str, Meta(description="Send it with your next call to hear what changed since this one.")
    ]
    left_out: Annotated[LeftOut, Meta(description="How many of each are not listed.")]
    not_allowed: Annotated[list[SectionName], Meta(description="Sections that need a scope your key lacks.")]
    you: Annotated[You | UnsetType, Meta(description="Without a `cursor`: who you are.")] = UNSET
    woken_by: Annotated[
        Waker | None | UnsetType,
        Meta(
            description="With `waitSeconds`: what came. `claimable`: a task you can claim; `mention`: something that "
            "addresses you; `answer`: a comment on a task you take part in; `held`: others changed a task that is yours, or "
            "you lost it. Null if nothing came."
        ),
    ] = UNSET
