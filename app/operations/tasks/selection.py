"""What a caller selects when reading tasks: by status, and which keys of each; and how many there are."""

from typing import Annotated, Final, Literal, Protocol

from msgspec import UNSET, Meta, UnsetType

from app.operations.tasks.task import CLOSED, Task
from app.rpc import Page
from app.types import FIELDS_MAX, StatusFilter

TaskField = Literal[
    "id", "identifier", "workspaceId", "title", "description", "status", "priority", "version", "dueAt",
    "assigneeUserId", "assigneeAgentId", "createdByUserId", "createdByAgentId", "parentTaskId", "channelId",
    "originMessageId", "originExtractionId", "startedAt", "completedAt", "cancelledAt", "archivedAt",
    "createdAt", "updatedAt", "deletedAt",
]  # fmt: skip

Statuses = StatusFilter | Annotated[list[StatusFilter], Meta(max_length=20)]
Fields = Annotated[list[TaskField], Meta(min_length=1, max_length=FIELDS_MAX)]

OfStatus = Annotated[
    Statuses | UnsetType,
    Meta(description="One status or several; `open` means neither done nor cancelled."),
]
OnlyFields = Annotated[Fields | UnsetType, Meta(description="Only these keys of each task, to save tokens.")]
IncludeTotal = Annotated[bool, Meta(description="Also count all matches, which takes time.")]
TOTAL_COST: Final = 20  # of counting all matches, among calls that are limited


class Counted(Protocol):
    """A request that may ask how many match in all."""

    @property
    def include_total(self) -> bool:
        """Whether it does."""
        ...


def cost_of_total(req: Counted) -> int:
    """What a list is worth more for its total."""
    return TOTAL_COST if req.include_total else 0


def statuses_in(sent: Statuses | UnsetType) -> tuple[list[str] | None, list[bool]]:
    """The statuses to match, or None for all of a kind; and whether matching tasks can be open, closed or both."""
    if sent is UNSET or sent == []:
        return None, [True, False]
    asked = {sent} if isinstance(sent, str) else set(sent)
    if asked == {"open"}:
        return None, [True]
    if "open" in asked:
        asked |= {"triage", "backlog", "todo", "in_progress", "blocked", "in_review"}
    opens = [is_open for is_open in (True, False) if any((s not in CLOSED) is is_open for s in asked)]
    return sorted(asked - {"open"}), opens


def trimmed(page: Page[Task], fields: Fields | UnsetType) -> Page[Task]:
    """A page with only these keys of each task, or all of them by default."""
    if not fields:
        return page
    return Page(page.items.only(frozenset(fields)), page.cursor, page.total)
