"""There is no such thing, or none that the caller may know of: 404."""

from __future__ import annotations

from app.errors.kinds import NotFound, Way


class UnknownPath(NotFound):
    """No operation answers at this path with this method."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} GET /openapi.json lists what there is.")


class TaskNotFound(NotFound):
    """No task with this id or identifier is visible to the caller."""

    def __init__(self, task_id: str, *, field: str = "taskId") -> None:
        super().__init__(
            f"No task `{task_id[:80]}` is visible to you.",
            {"field": field, "taskId": task_id[:80]},
            ways=(
                Way("Find tasks with list-tasks.", "list-tasks"),
                Way("Find tasks with search-tasks.", "search-tasks"),
                Way("get-inbox shows yours, and without a cursor those of your channels.", "get-inbox"),
            ),
        )


class VersionNotFound(NotFound):
    """The task has not had this version yet, or its history was removed because it had been closed for long."""

    def __init__(self, *, version: int, current_version: int, removed_to: int | None = None) -> None:
        details = {"field": "atVersion", "currentVersion": current_version}
        if removed_to is not None:
            super().__init__(
                f"How this task was at version {version} is no longer known: its history up to version {removed_to} was "
                "removed. Ask for a later one.",
                {**details, "removedTo": removed_to},
            )
            return
        super().__init__(
            f"This task has no version {version}: it is at version {current_version}. Ask for that or an earlier one.",
            details,
        )


class IdentityNotFound(NotFound):
    """No user or agent of this workspace that the caller may know of has this id, handle or email.

    Or an operator has deactivated whoever it is: then `reason` is `identity_deactivated`, and they take nothing new.
    """

    def __init__(self, name: str, *, field: str) -> None:
        super().__init__(
            f"No user or agent `{name[:80]}` in this workspace.",
            {"field": field},
            ways=(
                Way("Look one up with resolve-identity.", "resolve-identity"),
                Way("get-inbox without a cursor names those in your channels.", "get-inbox"),
            ),
        )


class IdentityDeactivated(IdentityNotFound):
    """An operator has deactivated this user or agent: it takes nothing new, and nobody answers for it."""

    def __init__(self, handle: str, *, field: str) -> None:
        NotFound.__init__(
            self,
            f"@{handle} was deactivated by an operator, so it takes nothing new: no task, no mention, no channel. "
            "Name somebody else.",
            {"field": field, "reason": "identity_deactivated"},
            ways=(Way("get-inbox without a cursor names those in your channels.", "get-inbox"),),
        )


class ChannelNotFound(NotFound):
    """No such channel in this workspace."""

    def __init__(self, channel_id: str, *, field: str = "channelId") -> None:
        super().__init__(
            f"No channel `{channel_id[:80]}` in this workspace.",
            {"field": field},
            ways=(
                Way("get-me lists yours.", "get-me"),
                Way("get-channels lists yours.", "get-channels"),
                Way("get-inbox without a cursor names yours.", "get-inbox"),
            ),
        )


class MemberNotFound(NotFound):
    """Whoever this is, they are not in the channel."""

    def __init__(self, member_id: str, *, field: str = "memberId") -> None:
        super().__init__(
            f"`{member_id[:80]}` is not in this channel.",
            {"field": field},
            ways=(
                Way("list-channel-members says who is.", "list-channel-members"),
                Way("get-channel-members says who is.", "get-channel-members"),
            ),
        )


class MessageNotFound(NotFound):
    """No message with this id is visible to the caller where they looked for it."""

    def __init__(self, message_id: str, *, field: str = "messageId") -> None:
        super().__init__(
            f"No message `{message_id[:80]}` is visible to you here.",
            {"field": field},
            ways=(
                Way("Find messages with get-messages.", "get-messages"),
                Way("Find messages with search-messages.", "search-messages"),
            ),
        )


class AttachmentNotFound(NotFound):
    """No such file was uploaded. This service stores no files, so that is every id."""

    def __init__(self, attachment_id: str) -> None:
        super().__init__(
            f"There is no attachment `{attachment_id[:80]}`: this service stores no files. Put a link into the message.",
            {"field": "attachmentIds"},
            ways=(Way("Or share text with create-artifact.", "create-artifact"),),
        )


class RunNotFound(NotFound):
    """No run with this id is visible to the caller."""

    def __init__(self, run_id: str, *, field: str = "runId") -> None:
        super().__init__(
            f"No run `{run_id[:80]}` is visible to you.",
            {"field": field},
            ways=(
                Way("Find runs with list-runs.", "list-runs", {"mine": True, "live": True}),
                Way("get-inbox lists your claims, with the `runId` of each.", "get-inbox"),
            ),
        )


class StateNotFound(NotFound):
    """No such State in this workspace."""

    def __init__(self, state_id: str) -> None:
        super().__init__(f"No state `{state_id[:80]}` in this organization.", {"field": "stateId"})
