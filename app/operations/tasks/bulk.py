"""create-tasks-bulk: up to fifty tasks in one call."""

from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.decoding import refuse_nul
from app.errors import (
    ApiError,
    InvalidInput,
)
from app.ids import new_id, uuid_or_none
from app.operations.channels.channel import refuse_posting
from app.operations.mentions import addressed
from app.operations.tasks.create import CREATE_ERRORS, NewTask, at, create
from app.operations.tasks.task import Task
from app.rpc import (
    AgentWrite,
    Context,
    Outcome,
    given,
    looked_up,
    names_in,
    operation,
    places_of,
    with_ids,
)
from app.types import BULK_ROWS_MAX, Id, Markdown
from app.wording import explained

_ROWS: Final = {"type": "array", "items": NewTask, "minItems": 1, "maxItems": BULK_ROWS_MAX}


class CreateTasksBulk(AgentWrite):
    """The tasks to create."""

    rules: ClassVar = {
        "properties": {
            "tasks": {
                "anyOf": [
                    _ROWS
                ]  # a string that holds them is taken as well, but no schema can say which strings do
            }
        }
    }

    tasks: Annotated[
        str
        | list[dict[str, Any]],  # Any: each row is checked one by one, so that the failing one can be named
        Meta(
            description="1 to 50 tasks, each with the fields of a single one: a JSON array, or a string that holds one.",
            extra={"items": NewTask},
        ),
    ]
    summary_channel_id: Annotated[
        Id | None | UnsetType, Meta(description="Channel in which to announce them, in one message.")
    ] = UNSET
    summary_message: Annotated[
        Markdown | None | UnsetType,
        Meta(description="What to say there. By default it lists the tasks and their assignees."),
    ] = UNSET


def _number_of(req: CreateTasksBulk) -> int:
    """About how many there are, which is for limits to know."""
    rows = req.tasks.count('"title"') if isinstance(req.tasks, str) else len(req.tasks)
    return min(rows, BULK_ROWS_MAX)


@operation(
    scope="task-write",
    errors=CREATE_ERRORS,
    more=_number_of,
)
async def create_tasks_bulk(ctx: Context, req: CreateTasksBulk) -> Outcome[list[Task]]:
    """Make up to 50 tasks at once: all of them, or none if one is refused.

    They come back in the order you sent them, with consecutive identifiers. An error names the row by its `index`.
    """
    rows = await _with_ids(ctx, _rows(req.tasks))
    summary: dict[str, object] = {}
    if channel := given(req.summary_channel_id):
        await refuse_posting(ctx, channel, field="summaryChannelId")
        content = given(req.summary_message) or None
        mentions = await addressed(ctx, content or "", field="summaryMessage")
        summary = {
            "channelId": uuid_or_none(channel),
            "id": new_id(),
            "content": content,
            "mentions": [someone.id for someone in mentions],
        }
    return await create(ctx, rows, summary)


def _rows(sent: str | list[dict[str, Any]]) -> list[NewTask]:
    """The rows of a bulk call, each checked; an InvalidInput names the first that is not in order."""
    if isinstance(sent, str):
        try:
            sent = msgspec.json.decode(sent)
        except (msgspec.DecodeError, RecursionError) as e:
            message = f"`tasks` is a string, but not one that holds a JSON array: {e}."
            raise InvalidInput(message, field="tasks") from None
    if not isinstance(sent, list) or not 1 <= len(sent) <= BULK_ROWS_MAX:
        count = f"; this one has {len(sent)}" if isinstance(sent, list) else ""
        message = f"`tasks` must be an array of 1 to {BULK_ROWS_MAX} tasks{count}."
        raise InvalidInput(message, field="tasks")
    rows: list[NewTask] = []
    for index, row in enumerate(sent):
        try:
            rows.append(_row(row))
        except InvalidInput as e:
            raise at(index, e) from None
    return rows


async def _with_ids(ctx: Context, rows: list[NewTask]) -> list[NewTask]:
    """The rows with ids in the place of names, which are looked up together."""
    known = await looked_up(ctx, [name for row in rows for name in names_in(row, places_of(NewTask))])
    found: list[NewTask] = []
    for index, row in enumerate(rows):
        try:
            found.append(with_ids(row, known))
        except ApiError as e:
            raise at(index, e) from None
    return found


def _row(sent: Any) -> NewTask:  # Any: this is JSON of any shape, before it is checked
    try:
        row = msgspec.convert(sent, NewTask)
    except msgspec.ValidationError as e:
        raise explained(e, NewTask) from None
    except RecursionError:
        message = "It is nested too deeply."
        raise InvalidInput(message) from None
    refuse_nul(row)
    return row
