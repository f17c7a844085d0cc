"""The story that the examples tell: what is sent to each operation, one call after the other.

An agent, `scout`, works for Ada in a workspace where T-41 was the last task. Four tasks, T-38 to T-41, waited in
#general before it began. It makes three more, works through them, talks about them, and then claims the four: one is
done, one fails, one is given back, and one is taken from it. Then it keeps records of its own through the second
contract.

Only the requests stand here. `make examples` plays the story against the service and writes what came back to
docs/examples.json, so no answer is typed by hand. To add an operation, add its request where the story wants it and
play it again.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

WORKSPACE: Final = "019c2f60-5a00-7000-8000-00000000000a"
GENERAL: Final = "019c2f60-5a00-7000-8000-00000000000b"
ADA: Final = "019c2f60-5a00-7000-8000-00000000000c"
SCOUT: Final = "019c2f60-5a00-7000-8000-00000000000d"
MOMENT: Final = "2026-03-02T09:00:00.000Z"
REQUEST_ID: Final = "3f9c1a7be042-17"
TOKEN: Final = "verify_Jx3mQv0p7Zk2Yc9Wd5Ub1Tn4"  # noqa: S105  an example, good for nothing

WAITING: Final = {
    38: "Measure the cache",
    39: "Import the archive",
    40: "Sort the mailbox",
    41: "Count the invoices",
}
"""The tasks that waited, by number."""


class Of(NamedTuple):
    """A value out of an earlier answer, such as the id of what was made then."""

    operation: str
    path: tuple[str | int, ...]


Gapped: TypeAlias = "dict[str, Gapped] | list[Gapped] | Of | str | float | bool | None"
"""JSON with gaps, where something out of an earlier answer belongs."""


class Told(NamedTuple):
    """One call: who makes it, and what is sent, in wire names."""

    request: dict[str, Gapped]
    by: str = "scout"  # agents cannot manage channels, so their owner does


KEYS: Final = Of("create-channel", ("data", "id"))
QUESTION: Final = Of("send-message", ("data", "id"))
RUNS: Final = (
    Of("claim-task", ("data", "run", "id")),
    *(Of("claim-next-task", ("data", n, "run", "id")) for n in range(3)),
)
RECORD: Final = Of("createTask", ("id",))
STATE: Final = Of("createState", ("id",))

STORY: Final[dict[str, Told]] = {
    "create-task": Told(
        {
            "title": "Rotate the signing keys",
            "description": "The old ones expire in April. Keep both until the caches have turned over.",
            "priority": "high",
            "dueAt": "2026-03-31T17:00:00Z",
            "channelId": GENERAL,
        }
    ),
    "create-tasks-bulk": Told(
        {
            "tasks": [
                {"title": "Write the runbook", "parentTaskId": "T-42", "assigneeAgentId": SCOUT},
                {"title": "Tell the customers", "parentTaskId": "T-42", "assigneeUserId": ADA},
            ],
            "summaryChannelId": GENERAL,
        }
    ),
    "get-task": Told({"taskId": "T-42"}),
    "list-tasks": Told({"status": ["open"], "query": "signing", "limit": 10, "includeTotal": True}),
    "list-my-tasks": Told(
        {"status": ["open"], "fields": ["identifier", "title", "priority", "version"], "limit": 10}
    ),
    "update-task": Told({"taskId": "T-42", "version": 1, "status": "in_progress", "assigneeAgentId": SCOUT}),
    "complete-task": Told({"taskId": "T-42"}),
    "cancel-task": Told({"taskId": "T-44", "reason": "Only we use these keys."}),
    "block-task": Told({"taskId": "T-43", "reason": "Waiting for @ada to say where runbooks live."}),
    "release-task": Told({"taskId": "T-43"}),
    "comment-on-task": Told(
        {"taskId": "T-42", "body": "Done, @ada: both keys are live.", "idempotencyKey": "tell-ada"}
    ),
    "list-comments": Told({"taskId": "T-43"}),
    "list-task-history": Told({"taskId": "T-44"}),
    "list-my-activity": Told({"limit": 1}),
    "get-request-outcome": Told({"idempotencyKey": "tell-ada"}),
    "get-channels": Told({}),
    "get-channel-members": Told({"channelId": GENERAL}),
    "list-channel-members": Told({"channelId": GENERAL}),
    "get-channel-manifest": Told({"channelId": GENERAL}),
    "create-channel": Told({"name": "keys", "purpose": "Rotating the signing keys"}),
    "rename-channel": Told({"channelId": KEYS, "name": "signing-keys"}, by="ada"),
    "archive-channel": Told({"channelId": KEYS, "archived": False}, by="ada"),
    "join-channel": Told({"channelId": KEYS}),
    "leave-channel": Told({"channelId": KEYS}),
    "add-channel-member": Told({"channelId": KEYS, "memberId": SCOUT, "role": "reader"}, by="ada"),
    "set-channel-member-role": Told({"channelId": KEYS, "memberId": SCOUT, "role": "poster"}, by="ada"),
    "remove-channel-member": Told({"channelId": KEYS, "memberId": SCOUT}, by="ada"),
    "send-message": Told({"channelId": GENERAL, "content": "@ada, which caches hold the old key?"}),
    "get-messages": Told({"channelId": GENERAL, "limit": 1}),
    "get-unread-mentions": Told({"limit": 1}, by="ada"),
    "create-artifact": Told(
        {"channelId": GENERAL, "name": "caches.md", "type": "markdown", "content": "- edge\n- gateway"}
    ),
    "flag-needs-human": Told({"messageId": QUESTION, "reason": "Only Ada knows the edge."}),
    "post-message": Told(
        {
            "channel_id": GENERAL,
            "content": "The gateway is done.",
            "parent_message_id": QUESTION,
            "kind": "progress",
        }
    ),
    "get-inbox": Told({"maxBytes": 4000}),
    "search-messages": Told({"query": "caches -gateway"}),
    "search-tasks": Told({"query": '"signing keys"', "limit": 5}),
    "link-tasks": Told({"taskId": "T-38", "kind": "blocks", "otherTaskId": "T-39"}),
    "list-task-relations": Told({"taskId": "T-38"}),
    "unlink-tasks": Told({"taskId": "T-38", "kind": "blocks", "otherTaskId": "T-39"}),
    "list-ready-tasks": Told({"channelId": GENERAL, "limit": 10}),
    "explain-task": Told({"taskId": "T-43"}),
    "claim-task": Told({"taskId": "T-38", "leaseSeconds": 300}),
    "claim-next-task": Told({"limit": 3, "leaseSeconds": 300, "waitSeconds": 2, "claimKey": "5c4f0a1e"}),
    "heartbeat-run": Told({"runId": RUNS[0], "progress": 0.5, "note": "Half of the probes are in."}),
    "append-run-log": Told(
        {
            "runId": RUNS[0],
            "steps": [{"text": "Started 8 probes."}, {"text": "4 are in.", "data": {"in": 4}}],
        }
    ),
    "complete-run": Told({"runId": RUNS[0], "output": {"hitRate": 0.93}, "completeTask": True}),
    "fail-run": Told(
        {
            "runId": RUNS[1],
            "errors": [{"code": "disk_full", "message": "The volume has no room left."}],
            "handoff": "Rows up to 40,000 are in.",
        }
    ),
    "release-run": Told({"runId": RUNS[2], "handoff": "A to K are sorted."}),
    "force-release-run": Told({"runId": RUNS[3], "reason": "The counter is stuck."}),
    "get-run": Told({"runId": RUNS[1]}),
    "list-runs": Told({"taskId": "T-40", "limit": 10}),
    "list-run-log": Told({"runId": RUNS[0]}),
    "createTask": Told(
        {
            "kind": "call_action",
            "title": "Fetch the report",
            "targetId": "reports/fetch",
            "executorId": "worker-7",
            "input": {"month": "2026-02"},
        }
    ),
    "updateTask": Told(
        {"taskId": RECORD, "ifMatch": '"1"', "status": "completed", "output": {"pages": 12}},
    ),
    "getTask": Told({"taskId": RECORD}),
    "listTasks": Told({"executorId": "worker-7", "status": "completed", "pagination": {"limit": 10}}),
    "deleteTask": Told({"taskId": RECORD}),
    "createState": Told({"name": "Import"}),
    "getState": Told({"stateId": STATE}),
    "updateState": Told(
        {"stateId": STATE, "ifMatch": '"1"', "variables": [{"name": "offset", "value": 40000}]}
    ),
    "get-me": Told({}),
    "get-workspace-info": Told({}),
    "resolve-identity": Told({"handle": "@ada"}),
    "verify-connection": Told({"token": TOKEN}),
}
"""By operation, in the order in which it is told."""


def resolved(value: Gapped, meant: Callable[[Of], Any]) -> Any:  # Any: JSON
    """A request with its gaps filled in."""
    match value:
        case Of():
            return meant(value)
        case dict():
            return {key: resolved(inner, meant) for key, inner in value.items()}
        case list():
            return [resolved(inner, meant) for inner in value]
        case _:
            return value


def found(answer: Any, path: Iterable[str | int]) -> Any:  # Any: JSON
    """What stands at a place of an answer."""
    for step in path:
        answer = answer[step]
    return answer
