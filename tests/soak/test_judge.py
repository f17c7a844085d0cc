"""The judge must complain: each test tells it one lie."""

from copy import deepcopy
from typing import Any

import pytest

from tests.soak.judge import judge
from tests.soak.record import Attempt, Call, Records

TASK = "task-1"


def entry(version: int, request_id: str, kind: str = "updated", **changes: tuple[Any, Any]) -> dict[str, Any]:
    told = [
        {"field": field, "from": before, "to": after} for field, (before, after) in sorted(changes.items())
    ]
    return {"version": version, "kind": kind, "requestId": request_id, "changes": told, "comment": None}


def answered(request_id: str, at: float, version: int, **fields: Any) -> Attempt:
    data = {"id": TASK, "version": version, **fields}
    return Attempt(request_id, at, at + 0.5, 200, repr(data).encode(), data)


def refused(request_id: str, at: float, details: dict[str, Any]) -> Attempt:
    error = {"code": "conflict", "details": details}
    return Attempt(request_id, at, at + 0.5, 409, repr(error).encode(), None, error)


CREATED = {"title": "A", "status": "todo", "priority": "none"}
NOW = {"title": "B", "status": "todo", "priority": "high"}


@pytest.fixture
def true() -> Records:
    """A true story: created, renamed after a lost answer, a merged change of priority, a refused one, words."""
    lost = Attempt("r2", 1.0)
    renamed = answered("r3", 2.0, 2, **{**CREATED, "title": "B"})
    renamed.replayed = True
    merged = answered("r4", 3.0, 3, **NOW)
    merged.merged_from = 1
    conflict = {
        "sentVersion": 1,
        "currentVersion": 3,
        "mergeable": False,
        "overlapping": [{"field": "title"}],
        "changed": [{"field": "title"}, {"field": "priority"}],
        "current": {"id": TASK, "version": 3, **NOW},
    }
    said = Attempt("r6", 5.0, 5.5, 200, b"said", {"id": "comment-1", "taskId": TASK})
    posted = Attempt("r8", 7.0, 7.5, 200, b"posted", {"id": "message-1", "version": 1})
    again = Attempt("r9", 8.0, 8.5, 200, b"posted", {"id": "message-1", "version": 1}, replayed=True)
    return Records(
        [
            Call("create-task", None, CREATED, key="k1", attempts=[answered("r1", 0.0, 1, **CREATED)]),
            Call("update-task", TASK, {"title": "B"}, 1, key="k2", attempts=[lost, renamed]),
            Call("update-task", TASK, {"priority": "high"}, 1, merge=True, key="k3", attempts=[merged]),
            Call("update-task", TASK, {"title": "C"}, 1, merge=True, attempts=[refused("r5", 4.0, conflict)]),
            Call("comment-on-task", TASK, {}, comment="Hm.", attempts=[said]),
            Call("get-task", TASK, {}, attempts=[answered("r7", 6.0, 3, **NOW)]),
            Call("send-message", None, {}, comment="Hi.", key="k8", attempts=[posted, again]),
        ],
        {
            TASK: [
                entry(1, "r1", "created", title=(None, "A"), status=(None, "todo"), priority=(None, "none")),
                entry(2, "r2", title=("A", "B")),
                entry(3, "r4", priority=("none", "high")),
                {**entry(3, "r6", "commented"), "comment": "Hm."},
            ]
        },
        ["Hi."],
    )


def complaints(records: Records) -> str:
    return "\n".join(judge(records))


def test_a_true_story_is_believed(true: Records) -> None:
    assert judge(true) == []


def test_a_lost_update_is_noticed(true: Records) -> None:
    true.histories[TASK][2] = entry(3, "r4", priority=("none", "high"), title=("A", "A"))
    assert "an update is lost" in complaints(true)


def test_a_missing_version_is_noticed(true: Records) -> None:
    del true.histories[TASK][1]
    assert "the versions of task-1 are [1, 3]" in complaints(true)


def test_a_missing_acknowledged_write_is_noticed(true: Records) -> None:
    del true.histories[TASK][2:]
    assert "a write is lost" in complaints(true)
    assert "its comment is not there" in complaints(true)


def test_a_second_effect_of_one_key_is_noticed(true: Records) -> None:
    true.histories[TASK].append(entry(4, "r3", title=("B", "B")))
    assert "it took effect 2 times" in complaints(true)


def test_two_answers_to_one_key_are_noticed(true: Records) -> None:
    again = deepcopy(true.calls[1].attempts[1])
    again.body = b"another"
    true.calls[1].attempts.append(again)
    assert "different answers for the same key" in complaints(true)


def test_an_effect_of_a_refused_call_is_noticed(true: Records) -> None:
    true.histories[TASK].append(entry(4, "r5", title=("B", "C")))
    assert "it was refused with 409, but took effect" in complaints(true)


def test_an_effect_nobody_asked_for_is_noticed(true: Records) -> None:
    true.histories[TASK].append(entry(4, "r99", title=("B", "C")))
    assert "nobody asked for" in complaints(true)


def test_a_version_that_was_not_kept_to_is_noticed(true: Records) -> None:
    true.calls[2].merge = False
    assert "it was made for version 1 and applied to 2" in complaints(true)


def test_a_merge_over_another_callers_field_is_noticed(true: Records) -> None:
    true.calls[2].wanted = {"priority": "high", "title": "B"}
    assert "merged over {'title'}" in complaints(true)


def test_a_refusal_of_what_could_have_been_merged_is_noticed(true: Records) -> None:
    true.calls[3].wanted = {"description": "C"}
    assert "could have been merged" in complaints(true)


def test_a_wrong_account_of_a_conflict_is_noticed(true: Records) -> None:
    error = true.calls[3].attempts[0].error
    assert error is not None
    error["details"]["changed"] = []
    assert "it was told of changes to []" in complaints(true)


def test_a_change_of_something_else_is_noticed(true: Records) -> None:
    true.histories[TASK][1] = entry(2, "r2", title=("A", "B"), description=(None, "x"))
    assert "it changed description, which it did not ask for" in complaints(true)


def test_an_answer_about_another_state_is_noticed(true: Records) -> None:
    data = true.calls[5].attempts[0].data
    assert data is not None
    data["title"] = "A"
    assert "it was told title 'A', but at version 3 it was 'B'" in complaints(true)


def test_a_stale_read_is_noticed(true: Records) -> None:
    true.calls[5].attempts = [answered("r7", 6.0, 2, **{**CREATED, "title": "B"})]
    assert "version 3 of task-1 had been answered before this was sent" in complaints(true)


def test_a_read_of_the_future_is_noticed(true: Records) -> None:
    true.calls[5].attempts = [answered("r7", 1.5, 3, **NOW)]
    assert "before that was asked for" in complaints(true)


def test_a_wrong_outcome_is_noticed(true: Records) -> None:
    true.calls[1].outcome = {"state": "unknown", "status": None}
    assert "its outcome is told as" in complaints(true)


def test_a_merge_that_is_not_told_is_noticed(true: Records) -> None:
    true.calls[2].attempts[0].merged_from = None
    assert "it was told that it was merged from None, not 1" in complaints(true)


def test_a_missing_acknowledged_message_is_noticed(true: Records) -> None:
    true.messages = []
    assert "its message is not there: a write is lost" in complaints(true)


def test_a_message_posted_twice_is_noticed(true: Records) -> None:
    true.messages.append("Hi.")
    assert "it was posted 2 times" in complaints(true)


def test_a_message_nobody_sent_is_noticed(true: Records) -> None:
    true.messages.append("Who, me?")
    assert "nobody asked for the message 'Who, me?'" in complaints(true)


def test_a_message_whose_outcome_is_told_as_unknown_is_noticed(true: Records) -> None:
    true.calls[6].outcome = {"state": "unknown", "status": None}
    assert "it was posted 1 times, but its outcome is told as" in complaints(true)
