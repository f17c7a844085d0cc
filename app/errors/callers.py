"""No, because of who calls: 401 and 403."""

from __future__ import annotations

from app.errors.kinds import PermissionDenied, Unauthenticated, Way


class KeyMissing(Unauthenticated):
    """No `Authorization: Bearer <key>` header was sent."""

    code = "AUTH_MISSING"

    def __init__(self) -> None:
        super().__init__("Send your API key in the header `Authorization: Bearer <key>`.")


class KeyInvalid(Unauthenticated):
    """The key is not known here."""

    code = "AUTH_INVALID_API_KEY"

    def __init__(self) -> None:
        super().__init__("Invalid API key: it is not known here. Check that it was copied whole.")


class KeyExpired(Unauthenticated):
    """The key's time is over."""

    code = "AUTH_API_KEY_EXPIRED"

    def __init__(self) -> None:
        super().__init__("API key has expired. Ask an operator for a new one.")


class KeyRevoked(Unauthenticated):
    """The key was revoked."""

    code = "AUTH_API_KEY_REVOKED"

    def __init__(self) -> None:
        super().__init__("API key has been revoked. Ask an operator for a new one.")


class UnknownHost(PermissionDenied):
    """The server was called by a name that its operator has not allowed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"This server does not answer to the name {name[:80]!r}. Its operator can allow it with ALLOWED_HOSTS."
        )


class ScopeMissing(PermissionDenied):
    """The API key lacks the scope that this operation needs."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"This key lacks the scope `{scope}`. Ask an operator for a key that has it.", {"scope": scope}
        )


class TaskReadOnly(PermissionDenied):
    """The caller sees the task, but may not change it: they neither post in its channel nor have it."""

    def __init__(self) -> None:
        super().__init__(
            "You can see this task but not change it. Ask to become a poster of its channel, or its assignee."
        )


class NotYoursToShow(PermissionDenied):
    """The caller may work on the task, but not decide who else sees it."""

    def __init__(self) -> None:
        super().__init__(
            "You may not decide who else sees this task: only those who may post in its channel can, or its creator "
            "if it is in no channel. Leave its channel as it is, and assign it only to someone who already sees it."
        )


class BlockerHidden(PermissionDenied):
    """A task is not made to wait for something that its creator or its assignee does not see."""

    def __init__(self) -> None:
        super().__init__(
            "The creator or the assignee of the waiting task cannot see the task that would block it. Show it to them "
            "first: bind it to a channel they are in, or mention them on it."
        )


class NotAssignee(PermissionDenied):
    """Only the assignee can release a task."""

    def __init__(self) -> None:
        super().__init__(
            "Only its assignee can release a task, and that is not you.",
            ways=(Way("To reassign it, use update-task.", "update-task"),),
        )


class NotHolder(PermissionDenied):
    """The run is somebody else's claim: only its holder acts under it."""

    def __init__(self) -> None:
        super().__init__(
            "That run is somebody else's claim, and only its holder can use it.",
            ways=(
                Way("Claim the task with claim-task.", "claim-task"),
                Way("get-inbox lists your own claims.", "get-inbox"),
            ),
        )


class ChannelNotMember(PermissionDenied):
    """The caller is not a member of the channel, or is there only to read."""

    code = "channel_not_member"

    def __init__(self, channel_id: str) -> None:
        super().__init__(
            "You are not a posting member of that channel. Ask to be added.",
            {"channelId": channel_id},
            ways=(
                Way("Or use a channel from get-me.", "get-me"),
                Way(
                    "Or join it with join-channel, if it is public.",
                    "join-channel",
                    {"channelId": channel_id},
                ),
                Way("Or use one of yours, which get-inbox without a cursor names.", "get-inbox"),
            ),
        )


class ChannelNotAdmin(PermissionDenied):
    """Only an admin of the channel may do this."""

    def __init__(self) -> None:
        super().__init__(
            "Only an admin of the channel may do this.",
            ways=(Way("list-channel-members says who is one.", "list-channel-members"),),
        )


class MemberRemoved(PermissionDenied):
    """Whoever was taken out of a channel comes back only if an admin of it adds them, or who took them out."""

    def __init__(self) -> None:
        super().__init__(
            "They were removed from this channel. Only an admin of it can add them again.",
            ways=(Way("That is done with add-channel-member.", "add-channel-member"),),
        )
