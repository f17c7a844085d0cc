"""Every way to fail, in one place.

    ApiError                    a normal answer that says no; one info line in the log
    ├── InvalidInput            400  invalid_input
    ├── Unauthenticated         401
    │   ├── KeyMissing               AUTH_MISSING
    │   ├── KeyInvalid               AUTH_INVALID_API_KEY
    │   ├── KeyExpired               AUTH_API_KEY_EXPIRED
    │   └── KeyRevoked               AUTH_API_KEY_REVOKED
    ├── PermissionDenied        403  permission_denied
    │   ├── UnknownHost
    │   ├── ScopeMissing
    │   ├── TaskReadOnly
    │   ├── NotYoursToShow
    │   ├── BlockerHidden
    │   ├── NotAssignee
    │   ├── NotHolder
    │   ├── ChannelNotMember         channel_not_member
    │   ├── ChannelNotAdmin
    │   └── MemberRemoved
    ├── NotFound                404  not_found
    │   ├── UnknownPath
    │   ├── TaskNotFound
    │   ├── VersionNotFound
    │   ├── IdentityNotFound
    │   ├── ChannelNotFound
    │   ├── MemberNotFound
    │   ├── MessageNotFound
    │   ├── AttachmentNotFound
    │   ├── RunNotFound
    │   └── StateNotFound
    ├── Conflict                409  conflict
    │   ├── VersionConflict
    │   ├── NotAssigned
    │   ├── ParentCycle
    │   ├── IdempotencyKeyReused
    │   ├── ChannelArchived
    │   ├── SoleMember
    │   ├── LastAdmin
    │   ├── RelationCycle
    │   ├── LeaseLost
    │   ├── NotClaimable
    │   ├── RunClaimed
    │   ├── RunEnded
    │   ├── LogFull
    │   ├── TooManyParts
    │   ├── EtagMismatch
    │   └── AlreadyExists
    ├── MethodNotAllowed        405  method_not_allowed
    ├── UnknownEncoding         415  unknown_encoding
    ├── Unframed
    │   ├── TooSlow             408  too_slow
    │   ├── UrlTooLong          414  url_too_long
    │   ├── HeadTooLarge        431  head_too_large
    │   ├── UnknownCoding       501  unknown_coding
    │   └── UnknownVersion      505  unknown_version
    ├── InternalError           500  internal_error
    └── Unavailable             503  upstream_unavailable
        ├── DatabaseUnavailable
        ├── StorageFull
        ├── TimedOut
        ├── CallerGone
        ├── Overloaded
        └── Contended

Anything else that is raised is a bug: it is logged whole, and the caller sees `internal_error` and the
request id. Messages are read by agents, so each says what to do next. `code` is the spelling of the agent
family; other families translate it. The published client can read eight statuses (contract 0.1). The others
are for what no published client can send: a wrong verb, a body in a coding, a request that is not quite HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class First(NamedTuple):
    """Where an answer that is kept under an idempotency key was given first."""

    request_id: str
    timestamp: str
    replayed: bool  # False: this is the first time


class ApiError(Exception):
    """The request was refused."""

    status: ClassVar[int]
    code: ClassVar[str]
    retryable: ClassVar[bool] = False
    retry_after_seconds: ClassVar[int | None] = None

    def __init__(self, message: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.first: First | None = None

    def body(self) -> dict[str, object]:
        """The error as the agent family spells it."""
        body: dict[str, object] = {"code": self.code, "message": self.message, "retryable": self.retryable}
        return {**body, "details": self.details} if self.details else body


# 400 ---------------------------------------------------------------------------------------------------


class InvalidInput(ApiError):
    """The input is malformed, out of range or contradicts itself. Correct it; resending it cannot help."""

    status = 400
    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None, **facts: object) -> None:
        details = {"field": field, **facts} if field else facts
        super().__init__(message, details or None)


# 401 ---------------------------------------------------------------------------------------------------


class Unauthenticated(ApiError):
    """The request carries no API key, or one that lets nobody in."""

    status = 401


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


# 403 ---------------------------------------------------------------------------------------------------


class PermissionDenied(ApiError):
    """The caller is known but may not do this."""

    status = 403
    code = "permission_denied"


class UnknownHost(PermissionDenied):
    """The server was called by a name that its operator has not allowed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"This server is not called {name[:80]!r}. Its operator can allow that name with ALLOWED_HOSTS."
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
            "You see this task, but may not change it. Ask to be made a poster of its channel, or its assignee."
        )


class NotYoursToShow(PermissionDenied):
    """The caller may work on the task, but not decide who else sees it."""

    def __init__(self) -> None:
        super().__init__(
            "You may not decide who else sees this task: that is for those who may post in its channel, and of a task "
            "in no channel for its creator. Leave its channel alone, and give it only to someone who sees it already."
        )


class BlockerHidden(PermissionDenied):
    """A task is not made to wait for something that its creator or its assignee does not see."""

    def __init__(self) -> None:
        super().__init__(
            "The task that is to wait was made by, or is assigned to, someone who does not see the one that would block it. "
            "Show it to them first: bind it to a channel that they are in, or mention them on it."
        )


class NotAssignee(PermissionDenied):
    """Only the assignee can release a task."""

    def __init__(self) -> None:
        super().__init__(
            "Only its assignee can release a task, and that is not you. To reassign it, use update-task."
        )


class NotHolder(PermissionDenied):
    """The run is somebody else's claim: only its holder acts under it."""

    def __init__(self) -> None:
        super().__init__(
            "That run is somebody else's claim, and only its holder acts under it. Claim the task with claim-task."
        )


class ChannelNotMember(PermissionDenied):
    """The caller is not a member of the channel, or is there only to read."""

    code = "channel_not_member"

    def __init__(self, channel_id: str) -> None:
        super().__init__(
            "You are not a posting member of that channel. Ask to be added, or use a channel from get-me.",
            {"channelId": channel_id},
        )


class ChannelNotAdmin(PermissionDenied):
    """Only an admin of the channel may do this."""

    def __init__(self) -> None:
        super().__init__("Only an admin of the channel may do this. list-channel-members says who is one.")


class MemberRemoved(PermissionDenied):
    """Whoever was taken out of a channel comes back only if an admin of it adds them, or who took them out."""

    def __init__(self) -> None:
        super().__init__(
            "They were taken out of this channel. Only an admin of it can add them again, with add-channel-member."
        )


# 404 ---------------------------------------------------------------------------------------------------


class NotFound(ApiError):
    """There is no such thing, or the caller may not know of it: the two are not told apart."""

    status = 404
    code = "not_found"


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


# 409 ---------------------------------------------------------------------------------------------------


class Conflict(ApiError):
    """The request was fine but the world is not as it supposes. Final: sent again unchanged it fails again."""

    status = 409
    code = "conflict"


class VersionConflict(Conflict):
    """Someone changed the task after you read it. Nothing was written.

    `details` holds all it takes to go on: `reason: "version_conflict"`, `sentVersion`, `currentVersion`, the whole
    task as it is `current`ly, the fields that `changed` since your version, by whom and when, and which of them are
    `overlapping` with yours. If there are none, your change is `mergeable`: send it again with `currentVersion`,
    or with `onConflict: "merge"`.
    """

    def __init__(
        self,
        *,
        sent: int,
        current_version: int,
        current: object,
        mergeable: bool,
        changed: object,
        overlapping: object,
        knows_merge: bool,
    ) -> None:
        advice = "Merge your change into `details.current` and send it with that version."
        if mergeable:
            merge = ", or `onConflict: merge`" if knows_merge else ""
            advice = f"Nobody touched your fields since then: send the same change with that version{merge}."
        super().__init__(
            f"You sent version {sent}, but the task is at version {current_version}. {advice}",
            {
                "reason": "version_conflict",
                "sentVersion": sent,
                "currentVersion": current_version,
                "mergeable": mergeable,
                "overlapping": overlapping,
                "changed": changed,
                "current": current,
            },
        )


class NotAssigned(Conflict):
    """The task is nobody's, so there is nothing to release."""

    def __init__(self) -> None:
        super().__init__(
            "Nobody holds this task, so there is nothing to release.", {"reason": "not_assigned"}
        )


class ParentCycle(Conflict):
    """The parent given is the task itself or one of its own sub-tasks."""

    def __init__(self) -> None:
        super().__init__(
            "A task cannot be moved under itself or one of its own sub-tasks. Choose another parent.",
            {"reason": "parent_cycle", "field": "parentTaskId"},
        )


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used before, with another operation or another body. Nothing was written."""

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"You used this idempotency key before, for {operation} with another body. Use a new key for a new request; "
            "get-request-outcome tells what became of the first one.",
            {"reason": "idempotency_key_reused", "operation": operation},
        )


class ChannelArchived(Conflict):
    """The channel is archived: it can be read, but takes nothing new."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"#{name} is archived and takes nothing new. Use another channel, or have an admin bring it back "
            "with archive-channel.",
            {"reason": "channel_archived"},
        )


class SoleMember(Conflict):
    """The only member of a channel cannot leave it: nobody could ever enter again."""

    def __init__(self) -> None:
        super().__init__(
            "You are the only member, so you cannot leave. Add someone first, or archive the channel.",
            {"reason": "sole_member"},
        )


class LastAdmin(Conflict):
    """A channel keeps an admin as long as somebody is in it."""

    def __init__(self) -> None:
        super().__init__(
            "That is the only admin of the channel, which keeps one. Make someone else in it an admin first, with "
            "set-channel-member-role, or archive the channel.",
            {"reason": "last_admin"},
        )


class RelationCycle(Conflict):
    """The task that is to wait already blocks, directly or through others, the one it would wait for."""

    def __init__(self) -> None:
        super().__init__(
            "These tasks would wait for each other for ever. Unlink what already leads the other way, or leave this out.",
            {"reason": "relation_cycle", "field": "otherTaskId"},
        )


class LeaseLost(Conflict):
    """The run is not the live claim of its task any more. Nothing was written, and nothing under it ever will be.

    `details` holds `reason: "lease_lost"`, `runId`, `taskId`, `endReason`, `endedAt`, and `holder`: who holds the
    task now, null if nobody does.
    """

    def __init__(
        self,
        *,
        run_id: str,
        task_id: str,
        identifier: str,
        end_reason: str,
        ended_at: str | None,
        holder: Mapping[str, object] | None,
        yours: bool = False,
    ) -> None:
        now = f"@{holder['handle']} holds it now" if holder else "nobody holds it now"
        advice = "Stop this work; claim-task or claim-next-task without this `runId` begins anew."
        if yours and holder:
            now = "you hold it under another run now"
            advice = f"Send `runId` {holder['runId']} instead."
        super().__init__(
            f"Your claim of {identifier} is over ({end_reason}), and {now}. Nothing was written. {advice}",
            {
                "reason": "lease_lost",
                "runId": run_id,
                "taskId": task_id,
                "endReason": end_reason,
                "endedAt": ended_at,
                "holder": holder,
            },
        )


class NotClaimable(Conflict):
    """The task cannot be claimed now. `details.obstacles` says why, as explain-task does."""

    def __init__(self, identifier: str, obstacles: object, messages: str) -> None:
        super().__init__(
            f"{identifier} cannot be claimed now: {messages}",
            {"reason": "not_claimable", "obstacles": obstacles},
        )


class RunClaimed(Conflict):
    """The run is a claim of a task, whose state only the operations on claims may change."""

    def __init__(self) -> None:
        super().__init__(
            "This is a claim of a task: its status and times follow the claim. Use complete-run, fail-run or release-run.",
            {"reason": "run_claimed"},
        )


class RunEnded(Conflict):
    """The claim has ended already, in another way than was asked for."""

    def __init__(self, end_reason: str) -> None:
        super().__init__(
            f"This claim has ended already ({end_reason}), so there is nothing to release.",
            {"reason": "run_ended", "endReason": end_reason},
        )


class LogFull(Conflict):
    """The run's log has no room for so many steps."""

    def __init__(self, steps_max: int) -> None:
        super().__init__(
            f"The log of a run holds {steps_max} steps at most. Write fewer and larger ones, or begin a new run.",
            {"reason": "log_full"},
        )


class TooManyParts(Conflict):
    """More hangs under this than one call may delete."""

    def __init__(self, count_max: int) -> None:
        super().__init__(
            f"More than {count_max} tasks hang under this one. Delete its children first.",
            {"reason": "too_many_parts"},
        )


class EtagMismatch(Conflict):
    """The `If-Match` header names another version than the current one. Nothing was written."""

    def __init__(self, current: str) -> None:
        super().__init__(
            f"It was changed since you read it: its ETag is now {current}. Read it again, merge, and send that in If-Match.",
            {"reason": "etag_mismatch"},
        )


class AlreadyExists(Conflict):
    """The name is taken."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(
            f"There is already a {what} `{name}`. Choose another name.", {"reason": "already_exists"}
        )


# What no published client can send ---------------------------------------------------------------------


class MethodNotAllowed(ApiError):
    """The path is there, and answers to other verbs, which the header `Allow` names."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, path: str, method: str, allowed: tuple[str, ...]) -> None:
        *others, last = [verb for verb in allowed if verb not in {"HEAD", "OPTIONS"}] or allowed
        verbs = f"{', '.join(others)} or {last}" if others else last
        super().__init__(f"{path[:80]} answers to {verbs}, not to {method[:20]}.")
        self.allowed = allowed


class UnknownEncoding(ApiError):
    """The body is compressed in a way that is not read here."""

    status = 415
    code = "unknown_encoding"

    def __init__(self, encoding: str, known: str) -> None:
        super().__init__(
            f"The body's Content-Encoding is {encoding[:40]!r}. Send it as it is, or with {known}."
        )
        self.known = known


class Unframed(ApiError):
    """What came is no request that can be read to its end. The connection is closed after the answer."""


class TooSlow(Unframed):
    """The request did not come in the time that one may take."""

    status = 408
    code = "too_slow"
    retryable = True

    def __init__(self) -> None:
        super().__init__("The request came too slowly, or stopped halfway. Send it again.")


class UrlTooLong(Unframed):
    """The URL is longer than any that means something here."""

    status = 414
    code = "url_too_long"


class HeadTooLarge(Unframed):
    """The header fields are too many or too large."""

    status = 431
    code = "head_too_large"


class UnknownCoding(Unframed):
    """The body comes in a transfer coding other than `chunked`."""

    status = 501
    code = "unknown_coding"

    def __init__(self) -> None:
        super().__init__("The only Transfer-Encoding that is read here is `chunked`.")


class UnknownVersion(Unframed):
    """The request is of another version of HTTP."""

    status = 505
    code = "unknown_version"

    def __init__(self) -> None:
        super().__init__("This server speaks HTTP/1.1.")


# 500 and 503 -------------------------------------------------------------------------------------------


class InternalError(ApiError):
    """A bug on our side. The log has it under the request id."""

    status = 500
    code = "internal_error"
    retryable = True

    def __init__(self) -> None:
        super().__init__("Something went wrong on our side. If it repeats, report the request id.")


class Unavailable(ApiError):
    """The service cannot answer right now."""

    status = 503
    code = "upstream_unavailable"
    retryable = True
    retry_after_seconds = 1


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or the connection broke. A write may or may not have happened: read before repeating it."""

    def __init__(self) -> None:
        super().__init__(
            "The database cannot be reached right now. A write may or may not have happened: read, then repeat it."
        )


class StorageFull(Unavailable):
    """The database has no space left on its disk. Nothing was written; reading still works."""

    def __init__(self) -> None:
        super().__init__(
            "The database has no space left on its disk. Nothing was written; tell the operator, and try again later."
        )


class TimedOut(Unavailable):
    """The call took longer than the server allows. A write may or may not have happened: read before repeating it."""

    def __init__(self) -> None:
        super().__init__(
            "The call took too long and was given up. A write may or may not have happened: read, then repeat it."
        )


class CallerGone(Unavailable):
    """The caller hung up while its call was waiting. Nobody hears this; the log has it."""

    def __init__(self) -> None:
        super().__init__("The caller hung up while the call was waiting.")


class Overloaded(Unavailable):
    """More calls are waiting than can be served soon, or the database has been away for too long. Nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "The service is overloaded or its database is away. Nothing was written; try again in a second."
        )


class Contended(Unavailable):
    """Others changed the task again and again while this call tried. Nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "This task is being changed too often to get a turn. Nothing was written; try again in a second."
        )
