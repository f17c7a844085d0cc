"""There is no such thing, or none that the caller may know of: 404."""

from __future__ import annotations

from app.errors.kinds import NotFound


class UnknownPath(NotFound):
    """No operation answers at this path with this method."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} GET /openapi.json lists what there is.")


class TaskNotFound(NotFound):
    """No task with this id or identifier is visible to the caller."""

    def __init__(self, task_id: str, *, field: str = "taskId") -> None:
        super().__init__(
            f"No task `{task_id[:80]}` is visible to you. Find tasks with list-tasks.",
            {"field": field, "taskId": task_id[:80]},
        )


class VersionNotFound(NotFound):
    """The task has not had this version yet."""

    def __init__(self, *, version: int, current_version: int) -> None:
        super().__init__(
            f"This task has no version {version}: it is at version {current_version}. Ask for that or an earlier one.",
            {"field": "atVersion", "currentVersion": current_version},
        )


class IdentityNotFound(NotFound):
    """No user or agent of this workspace that the caller may know of has this id, handle or email."""

    def __init__(self, name: str, *, field: str) -> None:
        super().__init__(
            f"No user or agent `{name[:80]}` in this workspace. Look one up with resolve-identity.",
            {"field": field},
        )


class ChannelNotFound(NotFound):
    """No such channel in this workspace."""

    def __init__(self, channel_id: str, *, field: str = "channelId") -> None:
        super().__init__(
            f"No channel `{channel_id[:80]}` in this workspace. get-me lists yours.", {"field": field}
        )


class MemberNotFound(NotFound):
    """Whoever this is, they are not in the channel."""

    def __init__(self, member_id: str, *, field: str = "memberId") -> None:
        super().__init__(
            f"`{member_id[:80]}` is not in this channel. list-channel-members says who is.", {"field": field}
        )


class MessageNotFound(NotFound):
    """No message with this id is visible to the caller where they looked for it."""

    def __init__(self, message_id: str, *, field: str = "messageId") -> None:
        super().__init__(
            f"No message `{message_id[:80]}` is visible to you here. Find messages with get-messages.",
            {"field": field},
        )


class AttachmentNotFound(NotFound):
    """No such file was uploaded. This service stores no files, so that is every id."""

    def __init__(self, attachment_id: str) -> None:
        super().__init__(
            f"There is no attachment `{attachment_id[:80]}`: this service stores no files. "
            "Share text with create-artifact, or put a link into the message.",
            {"field": "attachmentIds"},
        )


class RunNotFound(NotFound):
    """No run with this id is visible to the caller."""

    def __init__(self, run_id: str, *, field: str = "runId") -> None:
        super().__init__(
            f"No run `{run_id[:80]}` is visible to you. Find runs with list-runs.", {"field": field}
        )


class StateNotFound(NotFound):
    """No such State in this workspace."""

    def __init__(self, state_id: str) -> None:
        super().__init__(f"No state `{state_id[:80]}` in this organization.", {"field": "stateId"})
