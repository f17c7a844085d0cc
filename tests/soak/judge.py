"""Finds whatever in the records no legal order of events can explain.

A task is a register with compare and set. Its history gives every change a version, which is an order; the judge
asks whether that order is legal: whether each change starts from what the one before left, whether each answer
tells the state at its version, whether nothing happened before it was asked for or after it was answered, and
whether what was answered is there. So it needs no search: the order is given, and only has to be checked.

It believes the history about order only. Who asked for what, and what they were told, comes from the callers.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from tests.soak.record import Attempt, Call, Records

STAMPS = {"startedAt", "completedAt", "cancelledAt"}  # they follow from the status
ASSIGNEES = {"assigneeAgentId", "assigneeUserId"}
POSTS = {"send-message", "create-artifact"}
State = dict[str, Any]


def judge(records: Records) -> list[str]:
    """Every complaint; none if all is explained."""
    return list(_Judge(records).complaints())


class _Judge:
    def __init__(self, records: Records) -> None:
        self._calls = records.calls
        self._histories = records.histories
        self._entries: defaultdict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        for task_id, history in records.histories.items():
            for entry in history:
                self._entries[entry["requestId"]].append((task_id, entry))
        self._states: dict[str, dict[int, State]] = {}
        self._posted = Counter(records.messages)

    def complaints(self) -> Iterator[str]:
        for task_id, history in self._histories.items():
            yield from self._history_of_one_task(task_id, history)
        yield from self._effects_without_a_call()
        for call in self._calls:
            told = self._message(call) if call.operation in POSTS else ()
            for complaint in (*told, *self._effects(call), *self._answers(call)):
                yield f"{complaint}\n    {call}"
        yield from self._keys()
        yield from self._real_time()

    # One task ----------------------------------------------------------------------------------------

    def _history_of_one_task(self, task_id: str, history: list[dict[str, Any]]) -> Iterator[str]:
        """Versions have no gaps and no doubles, and every change starts from what the one before it left."""
        changes = [entry for entry in history if entry["kind"] != "commented"]
        if [entry["version"] for entry in changes] != list(range(1, len(changes) + 1)):
            yield f"the versions of {task_id} are {[entry['version'] for entry in changes]}"
        state: State = {}
        self._states[task_id] = states = {}
        for entry in changes:
            for change in entry["changes"]:
                if state.get(change["field"]) != change["from"]:
                    yield (
                        f"version {entry['version']} of {task_id} changes {change['field']} from {change['from']!r}, "
                        f"but it was {state.get(change['field'])!r}: an update is lost"
                    )
                state = {**state, change["field"]: change["to"]}
            states[entry["version"]] = state

    def _effects_without_a_call(self) -> Iterator[str]:
        asked = {attempt.request_id for call in self._calls for attempt in call.attempts}
        for request_id in self._entries.keys() - asked:
            yield f"nobody asked for {self._entries[request_id]}"
        said = {call.comment for call in self._calls if call.operation in POSTS}
        for content in self._posted.keys() - said:
            yield f"nobody asked for the message {content!r}"

    def _keys(self) -> Iterator[str]:
        """Of all that was asked for under one key, corrections of what was refused, one has an effect."""
        calls: dict[str, list[Call]] = {}
        for call in self._calls:
            if call.key is not None:
                calls.setdefault(call.key, []).append(call)
        for key, under_it in calls.items():
            if sum(bool(self._effects_of(call)) for call in under_it) > 1:
                yield f"two requests took effect under the key {key}: {', '.join(map(str, under_it))}"

    # One call ----------------------------------------------------------------------------------------

    def _effects(self, call: Call) -> Iterator[str]:
        """At most one effect, however often it was sent; exactly what was asked for; none if it was refused."""
        effects = self._effects_of(call)
        changes = [(task, entry) for task, entry in effects if entry["kind"] != "commented"]
        comments = [entry for _, entry in effects if entry["kind"] == "commented"]
        if len(changes) > 1 or len(comments) > 1:
            yield f"it took effect {len(changes)} times and commented {len(comments)} times"
        if len({entry["requestId"] for _, entry in effects}) > 1:
            yield "two of its attempts took effect"
        answer = call.answer
        if answer is not None and answer.status != 200 and effects:
            yield f"it was refused with {answer.status}, but took effect: {effects}"
        for entry in comments:
            if not (call.comment or "").startswith(entry["comment"]):
                yield f"it commented {entry['comment']!r}"
        for task, entry in changes:
            yield from self._effect(call, task, entry)

    def _message(self, call: Call) -> Iterator[str]:
        """A message is there once if its call was answered, and at most once if not."""
        count = self._posted[call.comment or ""]
        if count > 1:
            yield f"it was posted {count} times"
        answered = call.answer is not None and call.answer.status == 200
        if answered and count == 0:
            yield "it was answered, but its message is not there: a write is lost"
        told_done = call.outcome is not None and call.outcome["state"] == "done"
        if call.outcome is not None and told_done is not (count > 0):
            yield f"it was posted {count} times, but its outcome is told as {call.outcome}"

    def _effect(self, call: Call, task: str, entry: dict[str, Any]) -> Iterator[str]:
        if call.task_id not in {None, task}:
            yield f"it changed another task, {task}"
        for change in entry["changes"]:
            field = change["field"]
            if field in call.wanted and change["to"] != call.wanted[field]:
                yield f"it set {field} to {change['to']!r}"
            if call.task_id is not None and field not in _touched(call) | STAMPS:
                yield f"it changed {field}, which it did not ask for"
        if call.version is None or entry["version"] == call.version + 1:
            return
        if not call.merge:
            yield f"it was made for version {call.version} and applied to {entry['version'] - 1}"
        overlap = _touched(call) & self._fields_changed(task, call.version, entry["version"] - 1)
        if overlap:
            yield f"it was merged over {overlap}, which others had changed since version {call.version}"

    def _answers(self, call: Call) -> Iterator[str]:
        """All answers to a key are the same; each tells the truth; what was answered is there."""
        finals = [attempt for attempt in call.attempts if attempt.final]
        if len({(attempt.status, attempt.body) for attempt in finals}) > 1:
            yield "it got different answers for the same key"
        if any(_reason(attempt) == "idempotency_key_reused" for attempt in finals):
            yield "its key was refused, though nothing had an effect under it"
        if any(attempt.status == 400 for attempt in finals):
            yield f"it was not understood: {finals[0].error}"
        if call.outcome is not None:
            yield from self._outcome(call, call.outcome)
        answer = call.answer
        if answer is None or call.operation in POSTS:
            return
        if answer.status == 200 and answer.data is not None:
            yield from self._success(call, answer, answer.data)
        elif (
            answer.status == 409
            and answer.error is not None
            and "currentVersion" in answer.error.get("details", {})
        ):
            yield from self._conflict(call, answer.error["details"])

    def _outcome(self, call: Call, outcome: dict[str, Any]) -> Iterator[str]:
        answer, effects = call.answer, self._effects_of(call)
        if answer is not None and (outcome["state"], outcome["status"]) != ("done", answer.status):
            yield f"it was answered with {answer.status}, but its outcome is told as {outcome}"
        if effects and outcome["state"] != "done":
            yield f"it took effect, but its outcome is told as {outcome}"
        if (
            outcome["state"] == "done"
            and outcome["status"] == 200
            and not effects
            and call.operation == "create-task"
        ):
            yield "its outcome is told as done, but there is no effect"

    def _success(self, call: Call, answer: Attempt, data: dict[str, Any]) -> Iterator[str]:
        effects = self._effects_of(call)
        changes = [entry for _, entry in effects if entry["kind"] != "commented"]
        task_id = data.get("taskId", data["id"])
        if call.comment and not any(entry["kind"] == "commented" for _, entry in effects):
            yield "it was answered, but its comment is not there"
        if "version" not in data:
            return
        state = self._states.get(task_id, {}).get(data["version"])
        if state is None:
            yield f"it was answered with version {data['version']} of {task_id}, which is not there: a write is lost"
            return
        for field, value in state.items():
            if data.get(field) != value:
                yield f"it was told {field} {data.get(field)!r}, but at version {data['version']} it was {value!r}"
        for field, value in call.wanted.items():
            if data.get(field) != value:
                yield f"it was answered without {field} being {value!r}"
        if changes and changes[0]["version"] != data["version"]:
            yield f"it made version {changes[0]['version']} and was told {data['version']}"
        merged_from = (
            call.version if changes and call.version not in {None, changes[0]["version"] - 1} else None
        )
        if answer.merged_from != merged_from:
            yield f"it was told that it was merged from {answer.merged_from}, not {merged_from}"

    def _conflict(self, call: Call, details: dict[str, Any]) -> Iterator[str]:
        assert call.task_id is not None and call.version is not None
        current, version = details["current"], details["currentVersion"]
        if version == call.version or current["version"] != version:
            yield f"it was refused for version {call.version} at version {version}"
        state = self._states.get(call.task_id, {}).get(version, {})
        for field, value in state.items():
            if current.get(field) != value:
                yield f"it was told {field} {current.get(field)!r}, but at version {version} it was {value!r}"
        changed = self._fields_changed(call.task_id, call.version, version)
        if {change["field"] for change in details["changed"]} != changed:
            yield f"it was told of changes to {details['changed']}, but they were to {changed}"
        overlap = _touched(call) & changed
        if {field["field"] for field in details["overlapping"]} != overlap:
            yield f"it was told of an overlap in {details['overlapping']}, but it was in {overlap}"
        if details["mergeable"] is bool(overlap):
            yield f"it was told mergeable {details['mergeable']} with an overlap in {overlap}"
        if call.merge and not overlap:
            yield "it was refused, though it could have been merged"

    # All calls ---------------------------------------------------------------------------------------

    def _real_time(self) -> Iterator[str]:
        """What was answered before a call was made comes before it; nothing is seen before it was asked for."""
        seen: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        made_at: dict[tuple[str, int], float] = {}
        placed: list[tuple[Call, str, int]] = []
        for call in self._calls:
            for task_id, version in self._places(call):
                placed.append((call, task_id, version))
                seen[task_id].append((call.ended_at, version))
            for task_id, entry in self._effects_of(call):
                if entry["kind"] != "commented":
                    made_at[task_id, entry["version"]] = call.began_at
        for moments in seen.values():
            moments.sort()
            highest = 0
            for index, (moment, version) in enumerate(moments):
                highest = max(highest, version)
                moments[index] = (moment, highest)
        for call, task_id, version in placed:
            before = bisect_left(seen[task_id], (call.began_at, 0)) - 1
            if before >= 0 and seen[task_id][before][1] > version:
                yield (
                    f"version {seen[task_id][before][1]} of {task_id} had been answered before this was sent, "
                    f"but it was placed at version {version}\n    {call}"
                )
            if made_at.get((task_id, version), 0.0) > call.ended_at:
                yield f"it was told version {version} of {task_id} before that was asked for\n    {call}"

    def _places(self, call: Call) -> Iterable[tuple[str, int]]:
        """Where in the order of its task an answered call belongs."""
        answer = call.answer
        if answer is None:
            return []
        if call.operation not in POSTS and answer.data is not None and "version" in answer.data:
            return [(answer.data["id"], answer.data["version"])]
        if answer.error is not None and "currentVersion" in answer.error.get("details", {}):
            assert call.task_id is not None
            return [(call.task_id, answer.error["details"]["currentVersion"])]
        return []

    def _effects_of(self, call: Call) -> list[tuple[str, dict[str, Any]]]:
        return [effect for attempt in call.attempts for effect in self._entries.get(attempt.request_id, ())]

    def _fields_changed(self, task_id: str, after: int, until: int) -> set[str]:
        return {
            change["field"]
            for entry in self._histories.get(task_id, ())
            if after < entry["version"] <= until
            for change in entry["changes"]
        }


def _touched(call: Call) -> set[str]:
    """The fields a call writes; the two kinds of assignee are one place."""
    return set(call.wanted) | (ASSIGNEES if ASSIGNEES & set(call.wanted) else set())


def _reason(attempt: Attempt) -> str | None:
    return (attempt.error or {}).get("details", {}).get("reason")
