"""What must hold of a task's log, whatever happened at the same time."""

from typing import Any

from tests.conftest import World


async def whole_history(workspace: World, task_id: str) -> list[dict[str, Any]]:
    """The changes of a task, oldest first, after a look at whether they tell one story.

    Versions start at 1 and have neither gaps nor doubles, every change starts from what the one before it left,
    and the last leaves the task as it is now.
    """
    events = [event for event in await workspace.events(task_id) if event["kind"] != "commented"]
    events.sort(key=lambda event: event["version"])
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    state: dict[str, Any] = {}
    for event in events:
        for field, (before, after) in event["changes"].items():
            assert state.get(field) == before, (
                f"version {event['version']} changes {field} from what it was not"
            )
            state[field] = after
    [task] = await workspace.rows(
        """SELECT version, title, status, assignee_id FROM tasks
            WHERE workspace_id = %(workspace)s AND id = %(task)s::uuid""",
        task=task_id,
    )
    assert task["version"] == len(events)
    assert (task["title"], task["status"]) == (state["title"], state["status"])
    assert task["assignee_id"] == (state.get("assigneeAgentId") or state.get("assigneeUserId"))
    return events
