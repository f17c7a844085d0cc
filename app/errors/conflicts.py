"""The request was fine, but the world is not as it supposes: 409."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.errors.kinds import Conflict, Way

if TYPE_CHECKING:
    from collections.abc import Mapping


class VersionConflict(Conflict):
    """Someone changed the task after you read it. Nothing was written.

    `details` holds all it takes to go on: `reason: "version_conflict"`, `sentVersion`, `currentVersion`, the whole
    task as it is `current`ly, the fields that `changed` since your version, by whom and when, and which of them are
    `overlapping` with yours. If there are none, your change is `mergeable`: send it again with `currentVersion`,
    or with `onConflict: "merge"`. If some of what changed was removed because the task had been closed for long,
    `removedTo` says up to which version; nothing is said of fields then, and nothing can be merged.
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
        removed_to: int | None,
        knows_merge: bool,
    ) -> None:
        passed = f"You sent version {sent}, but the task is at version {current_version}."
        advice = "Merge your change into `details.current` and send it with that version."
        to_models = (
            "Merge your values with theirs, in `details.overlapping`, and send that with the current version."
        )
        if mergeable:
            merge = ", or `onConflict: merge`" if knows_merge else ""
            advice = f"Nobody touched your fields since then: send the same change with that version{merge}."
            to_models = advice
        if removed_to is not None:
            advice = (
                f"What changed up to version {removed_to} is no longer known: the task had been closed for long, and its "
                "history was removed. Compare `details.current` with what you read, and send your change with its version."
            )
            to_models = (
                f"What changed up to version {removed_to} is no longer known: its history was removed. Read the task "
                "again, and send your change with the current version."
            )
        super().__init__(
            f"{passed} {advice}",
            {
                "reason": "version_conflict",
                "sentVersion": sent,
                "currentVersion": current_version,
                "mergeable": mergeable,
                "overlapping": overlapping,
                "changed": changed,
                **({} if removed_to is None else {"removedTo": removed_to}),
                "current": current,
            },
            to_models=f"{passed} {to_models}",
        )


class CursorExpired(Conflict):
    """Some of what happened after this cursor was removed, as the workspace's retention says. So nothing is listed.

    What goes on from where others have been silently skipped would be wrong. Start anew without a cursor.
    """

    def __init__(self) -> None:
        super().__init__(
            "This cursor is too old: some of what happened after it was removed from the history.",
            {"reason": "cursor_expired", "field": "cursor"},
            ways=(
                Way(
                    "Call get-inbox without `cursor`: it lists what is yours and the latest changes, and gives a new one.",
                    "get-inbox",
                ),
            ),
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
            f"You used this idempotency key before, for {operation} with another body. Use a new key for a new request.",
            {"reason": "idempotency_key_reused", "operation": operation},
            ways=(Way("get-request-outcome tells what became of the first one.", "get-request-outcome"),),
            to_models="You used this idempotency key before, with other arguments. Use a new key for a new request.",
        )


class ChannelArchived(Conflict):
    """The channel is archived: it can be read, but takes nothing new."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"#{name} is archived, and nothing can be added to it. Use another channel.",
            {"reason": "channel_archived"},
            ways=(
                Way(
                    "Or ask an admin to bring it back with archive-channel.",
                    "archive-channel",
                    {"archived": False},
                ),
            ),
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
            "That is the only admin of the channel, and a channel must keep one. Archive the channel, or first make another "
            "member an admin.",
            {"reason": "last_admin"},
            ways=(
                Way(
                    "That is done with set-channel-member-role.", "set-channel-member-role", {"role": "admin"}
                ),
            ),
        )


class RelationCycle(Conflict):
    """The task that is to wait already blocks, directly or through others, the one it would wait for."""

    def __init__(self) -> None:
        super().__init__(
            "These tasks would wait for each other forever. Remove the relation that leads the other way, or leave this one out.",
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
        advice = "Stop this work."
        ways = (
            Way("To start again, call claim-next-task without this `runId`.", "claim-next-task"),
            Way("Or call claim-task without this `runId`.", "claim-task", {"taskId": identifier}),
            Way("get-inbox lists what is yours.", "get-inbox"),
        )
        if yours and holder:
            now = "you hold it under another run now"
            advice = f"Send `runId` {holder['runId']} instead."
            ways = ()
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
            ways=ways,
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
            "This is a claim of a task: its status and times follow the claim.",
            {"reason": "run_claimed"},
            ways=(Way("Use complete-run, fail-run or release-run.", "complete-run"),),
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
