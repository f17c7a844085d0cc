"""What the service should do, in a page: tasks as lists of versions, and keys with the answers they got.

`apply` takes a call and says what must be answered. The answers are tuples of what matters, so that they can be
compared with what the service says; moments are told apart only by whether there is one.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

PAIR = {"assigneeAgentId", "assigneeUserId"}  # one place with two names
STAMP_OF = {"done": "completedAt", "cancelled": "cancelledAt"}
Answer = tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """One request of one of the agents."""

    caller: int
    operation: str
    task: int | None = None  # which of the tasks; None: it makes one
    fields: tuple[tuple[str, Any], ...] = ()
    version: int | None = None
    merge: bool = False
    comment: str | None = None
    key: str | None = None

    @property
    def touches(self) -> set[str]:
        """The fields it writes."""
        names = {name for name, _ in self.fields}
        return names | PAIR if names & PAIR else names


@dataclass
class Task:
    """All versions a task has had, with the fields that each changed, and what was said about it."""

    versions: list[dict[str, Any]]
    changed: list[set[str]]
    comments: list[str] = field(default_factory=list)

    @property
    def version(self) -> int:
        """The one it is at."""
        return len(self.versions)

    def changed_since(self, version: int) -> set[str]:
        """The fields that were touched after a version."""
        return set().union(*self.changed[version:])


class Model:
    """Everything there is in a workspace."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.keys: dict[tuple[int, str], tuple[Call, Answer]] = {}

    def copy(self) -> "Model":
        """The same, to try something on."""
        return deepcopy(self)

    def apply(self, call: Call) -> Answer:
        """What must be answered, and what it does."""
        if call.key is None:
            return self._do(call)
        if (known := self.keys.get((call.caller, call.key))) is not None:
            first, answer = known
            if first == call:
                return answer
            if answer[0] in {"task", "comment"}:
                return ("key reused",)
            # It was refused, so nothing was written: a corrected request may have the key.
        answer = self._do(call)
        self.keys[call.caller, call.key] = (call, answer)
        return answer

    def _do(self, call: Call) -> Answer:
        if call.task is None:
            fields = {"description": None, **dict.fromkeys(PAIR), **dict(call.fields)}
            stamps = {"startedAt": None, "completedAt": None, "cancelledAt": None}
            fields = {"status": "todo", "priority": "none", **fields, **stamps}
            if fields["status"] == "in_progress":
                fields["startedAt"] = "a moment"
            self.tasks.append(Task([fields], [set(fields)]))
            return ("task", 1, fields, None)
        task = self.tasks[call.task]
        if call.operation == "comment-on-task":
            task.comments.append(call.comment or "")
            return ("comment", call.comment)
        return self._change(call, task)

    def _change(self, call: Call, task: Task) -> Answer:
        now = task.versions[-1]
        merged_from = None
        if call.version is not None and call.version != task.version:
            changed = task.changed_since(call.version)
            overlapping = call.touches & changed
            if overlapping or not call.merge:
                return ("conflict", task.version, now, not overlapping, changed, overlapping)
            merged_from = call.version
        if call.operation == "release-task" and now["assigneeAgentId"] != f"agent {call.caller}":
            return ("not assignee",) if now["assigneeAgentId"] else ("not assigned",)
        following = self._following(now, call)
        changed = {name for name in now if following[name] != now[name]}
        # A stamp that is set again has another moment, which is all the same to this model.
        if "status" in changed and (stamp := STAMP_OF.get(following["status"])):
            changed.add(stamp)
        if call.comment is not None:
            task.comments.append(call.comment)
        if not changed:
            return ("task", task.version, now, None)
        task.versions.append(following)
        task.changed.append(changed)
        return ("task", task.version, following, merged_from)

    def _following(self, now: dict[str, Any], call: Call) -> dict[str, Any]:
        following = {**now, **dict(call.fields)}
        if following["status"] == "in_progress":
            following["startedAt"] = "a moment"
        if following["status"] != now["status"] and (stamp := STAMP_OF.get(following["status"])):
            following[stamp] = "a moment"
        return following
