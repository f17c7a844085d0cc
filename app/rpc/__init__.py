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
from app.rpc.families import AGENT, BARE, SDK, Family, family_at
from app.rpc.operation import BadDeclaration, Operation, Step, operation
from app.rpc.requests import (
    EMPTIED,
    IN_PATH,
    IN_QUERY,
    AgentRequest,
    AgentWrite,
    BareRequest,
    BareWrite,
    ClaimWrite,
    IdempotencyKey,
    Request,
    SdkWrite,
    changes,
    emptied_by_null,
    given,
)
from app.rpc.tags import IfMatch, etag_of, versions_in

__all__ = [
    "AGENT",
    "ATTEMPTS_MAX",
    "BARE",
    "EMPTIED",
    "IN_PATH",
    "IN_QUERY",
    "SDK",
    "Actor",
    "AgentRequest",
    "AgentWrite",
    "Answer",
    "BadDeclaration",
    "BareRequest",
    "BareWrite",
    "ClaimWrite",
    "Context",
    "Excerpt",
    "Family",
    "HistoryCutoff",
    "IdempotencyKey",
    "IfMatch",
    "Operation",
    "Outcome",
    "Page",
    "Request",
    "Result",
    "Row",
    "SdkAnswer",
    "SdkWrite",
    "Step",
    "changes",
    "emptied_by_null",
    "etag_of",
    "execute",
    "family_at",
    "given",
    "operation",
    "versions_in",
    "whose",
]
