"""What an operation is, and the one pipeline that runs every one of them.

An operation is a typed async function: a request struct in, a struct (or JSON that Postgres wrote) out.

    class GetThing(AgentRequest):
        thing_id: Annotated[Id, Meta(description="Which thing.")]

    @operation(scope="task-read", read_only=True, errors=(ThingNotFound,))
    async def get_thing(ctx: Context, req: GetThing) -> Encoded[Thing]:
        \"\"\"Read one thing.\"\"\"

Its name and path come from the function's name and the family of its request, its documentation from the
docstrings, its schemas from the structs. Standing in `app.operations.OPERATIONS` is what makes it exist: HTTP
routes, the OpenAPI document and `docs/operations.md` are derived from that tuple.
"""

from app.rpc.answers import Answer, Excerpt, HistoryCutoff, Outcome, Page, Result, Row, SdkAnswer
from app.rpc.context import ATTEMPTS_MAX, Actor, Context, whose
from app.rpc.execute import execute
from app.rpc.families import AGENT, RECORDS, SDK, Family, family_at
from app.rpc.limits import SPARED_PAUSE_SECONDS, UNLIMITED, Allowance, Bucket, Limits, Rate, Waits
from app.rpc.named import looked_up, names_in, places_of, with_ids
from app.rpc.operation import BadDeclaration, Operation, Step, operation
from app.rpc.requests import (
    EMPTIED,
    IN_PATH,
    IN_QUERY,
    UNTOLD,
    AgentRequest,
    AgentWrite,
    ClaimWrite,
    IdempotencyKey,
    RecordRequest,
    RecordWrite,
    Request,
    SdkWrite,
    changes,
    emptied_by_null,
    given,
    marked,
)
from app.rpc.tags import IfMatch, etag_of, versions_in

__all__ = [
    "AGENT",
    "ATTEMPTS_MAX",
    "EMPTIED",
    "IN_PATH",
    "IN_QUERY",
    "RECORDS",
    "SDK",
    "SPARED_PAUSE_SECONDS",
    "UNLIMITED",
    "UNTOLD",
    "Actor",
    "AgentRequest",
    "AgentWrite",
    "Allowance",
    "Answer",
    "BadDeclaration",
    "Bucket",
    "ClaimWrite",
    "Context",
    "Excerpt",
    "Family",
    "HistoryCutoff",
    "IdempotencyKey",
    "IfMatch",
    "Limits",
    "Operation",
    "Outcome",
    "Page",
    "Rate",
    "RecordRequest",
    "RecordWrite",
    "Request",
    "Result",
    "Row",
    "SdkAnswer",
    "SdkWrite",
    "Step",
    "Waits",
    "changes",
    "emptied_by_null",
    "etag_of",
    "execute",
    "family_at",
    "given",
    "looked_up",
    "marked",
    "names_in",
    "operation",
    "places_of",
    "versions_in",
    "whose",
    "with_ids",
]
