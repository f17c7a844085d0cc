"""get-request-outcome: what became of a call whose answer was lost."""

import asyncio
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from app.rpc import AgentRequest, Answer, Context, operation, whose
from app.types import NO_NUL, Timestamp
from app.writes import receipts
from app.writes.receipts import KEY_CHARACTERS_MAX, StoredRow

PAUSES_SECONDS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.3)  # while a call is under way: most take milliseconds


class RequestOutcome(Answer):
    """What became of a call that was made with an idempotency key."""

    idempotency_key: Annotated[str, Meta(description="The key you asked about.")]
    state: Annotated[
        Literal["unknown", "in_progress", "done"],
        Meta(
            description=(
                "`done`: it was answered, see below; without its `data` or `error` if your API key lacks the scope it "
                "needed. `in_progress`: it is being worked on, ask again. `unknown`: it has had no effect so far. To send "
                "it again with the same key is safe in every state."
            )
        ),
    ]
    operation: Annotated[str | None, Meta(description="Which operation was called; null until it is done.")]
    status: Annotated[int | None, Meta(description="The HTTP status of the answer; null until it is done.")]
    data: Annotated[
        Any,  # Any: the data of whichever operation it was
        Meta(description="The `data` of the answer, if it was a success; else null."),
    ]
    error: Annotated[
        Any,  # Any: an error as it stands in an answer, whose details are of many shapes
        Meta(description="The `error` of the answer, if it was a refusal; else null."),
    ]
    merged_from: Annotated[
        int | None, Meta(description="As the header `Baton-Merged-From` of the answer said.")
    ]
    request_id: Annotated[str | None, Meta(description="`meta.requestId` of the answer.")]
    answered_at: Annotated[Timestamp | None, Meta(description="`meta.timestamp` of the answer.")]


class GetRequestOutcome(AgentRequest):
    """Which call."""

    idempotency_key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=KEY_CHARACTERS_MAX, extra_json_schema=NO_NUL)],
        Meta(description="The key of that call. You find only your own keys."),
    ]


@operation(scope=None, read_only=True)
async def get_request_outcome(ctx: Context, req: GetRequestOutcome) -> RequestOutcome:
    """See what became of a call that you made with an idempotency key.

    Use it when an answer was lost: after a time-out, a 502, or a restart of your own. If the call is still running,
    this waits for it, up to a second.
    """
    key, seen = req.idempotency_key, False
    for pause_seconds in PAUSES_SECONDS:
        under_way = await receipts.is_under_way(ctx.db, whose(ctx.actor), key)
        row = await receipts.find(ctx.db, whose(ctx.actor), key)  # only now: it may have been done meanwhile
        if row is not None:
            return _done(key, row, ctx.actor.scopes)
        if not under_way and not seen:
            return _not_yet(key, "unknown")
        seen = True
        await asyncio.sleep(pause_seconds)
    return _not_yet(key, "in_progress")


def _not_yet(key: str, state: Literal["unknown", "in_progress"]) -> RequestOutcome:
    return RequestOutcome(
        idempotency_key=key,
        state=state,
        operation=None,
        status=None,
        data=None,
        error=None,
        merged_from=None,
        request_id=None,
        answered_at=None,
    )


def _done(key: str, row: StoredRow, scopes: frozenset[str]) -> RequestOutcome:
    answer = msgspec.Raw(row.answer.raw) if row.scope is None or row.scope in scopes else None
    return RequestOutcome(
        idempotency_key=key,
        state="done",
        operation=row.operation,
        status=row.status,
        data=answer if row.error is None else None,
        error=answer if row.error is not None else None,
        merged_from=row.merged_from,
        request_id=row.request_id,
        answered_at=row.answered_at,
    )
