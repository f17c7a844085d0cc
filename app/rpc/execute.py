"""The one pipeline that runs every operation, and sees to it that a repeated call has no second effect."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from msgspec import UNSET

from app.db import Duplicate
from app.decoding import Sent
from app.errors import ApiError, Contended, DatabaseUnavailable, First, InvalidInput, ScopeMissing
from app.rpc.answers import Outcome, Page, Result
from app.rpc.context import Context, whose
from app.rpc.families import SDK
from app.rpc.limits import SPARED_PAUSE_SECONDS
from app.rpc.named import looked_up, names_in, with_ids
from app.rpc.operation import Operation, Work
from app.writes import receipts
from app.writes.fence import Under, under
from app.writes.receipts import Receipt, Repeated


def execute(
    op: Operation,
    ctx: Context,
    *,
    body: bytes | None = None,
    query: bytes = b"",
    placed: Mapping[str, str] | None = None,
    ignored: list[str] | None = None,
) -> Work:
    """Run one call: scope, decode, limits, handler. The scope comes before the body is looked at.

    `ignored` takes the names of fields that were sent and that nobody reads.

    Raises at once what is wrong with the call itself. The rest happens when the outcome is awaited.
    """
    sent: Sent = {}
    try:
        op.check(ctx.actor.scopes)
        if body is None:
            req = op.decoder.from_query(query, ignored)
        else:
            req, sent = op.decoder.read(body, placed)
    except (ScopeMissing, InvalidInput) as e:  # which is not for nothing
        if (limited := ctx.actor.allowance.refusal(op.cost)) is None:
            raise
        return ctx.actor.allowance.refuse(e if op.spared is True else limited)
    if ignored is not None and not sent.keys() <= op.decoder.known:
        ignored.extend(sent.keys() - op.decoder.known)
    if (limited := ctx.actor.allowance.refusal(op.costs(req))) is not None:
        if not op.spares(req):
            return ctx.actor.allowance.refuse(limited)
        return _paced(op, ctx, req, sent, placed)
    return _run(op, ctx, req, sent, placed)


async def _paced(
    op: Operation,
    ctx: Context,
    req: Any,  # Any: the request of this operation
    sent: Sent,
    placed: Mapping[str, str] | None,
) -> Result:
    """Run a call that is one too many, and that no limit may refuse, a moment later."""
    await asyncio.sleep(SPARED_PAUSE_SECONDS)
    return await _run(op, ctx, req, sent, placed)


def _run(
    op: Operation, ctx: Context, req: Any, sent: Sent, placed: Mapping[str, str] | None
) -> Work:  # Any: see above
    """The work of a call that may take place, under its idempotency key if it has one."""
    if op.read_only:
        return _work(op, ctx, req)
    key = receipts.key_of(ctx.idempotency_key, getattr(req, "idempotency_key", UNSET))
    if key is None:
        return _begin(op, ctx, req)
    receipt = receipts.receipt_of(key, op.name, op.scope, op.status, sent, placed or {})
    return _keyed(op, msgspec.structs.replace(ctx, receipt=receipt), receipt, req)


def _begin(op: Operation, ctx: Context, req: Any) -> Work:  # Any: the request of this operation
    """The work of a handler that writes, under the claim that its request names."""
    field = "run_id" if op.family is SDK else "runId"
    if (run_id := under(req.run_id, field=field)) is not None:
        ctx = msgspec.structs.replace(ctx, under=Under(run_id, field))
    return _work(op, ctx, req)


def _work(op: Operation, ctx: Context, req: Any) -> Work:  # Any: see _begin
    """The work of a handler, which is given ids where its request has names."""
    if op.places and (names := names_in(req, op.places)):
        return _named(op, ctx, req, names)
    return op.handler(ctx, req)


async def _named(op: Operation, ctx: Context, req: Any, names: list[str]) -> Result:  # Any: see _begin
    return await op.handler(ctx, with_ids(req, await looked_up(ctx, names)))


async def _keyed(op: Operation, ctx: Context, receipt: Receipt, req: Any) -> Result:  # Any: see _begin
    """Run a call that has an idempotency key until its outcome is known."""
    for pause_seconds in RESEND_SECONDS:
        try:
            return await _once(op, ctx, receipt, req)
        except DatabaseUnavailable:
            # Nobody knows whether it took effect. But with a key it cannot do so twice: ask by doing it again.
            await asyncio.sleep(pause_seconds)
    return await _once(op, ctx, receipt, req)


# Connections come back within a second, or the caller should hear of it.
RESEND_SECONDS: Final = (0.1, 0.4, 1.0)


async def _once(op: Operation, ctx: Context, receipt: Receipt, req: Any) -> Result:  # Any: see _begin
    """Run a call that has an idempotency key, or find out what was answered when it ran before."""
    stored = None
    try:
        outcome = _outcome(await _begin(op, ctx, req))
        if not outcome.wrote:
            stored = await receipts.store(
                ctx.db,
                whose(ctx.actor),
                receipt,
                ctx.request_id,
                outcome.result,
                version=outcome.version,
                told=outcome.told,
            )
        if outcome.wrote or stored is not None:
            return replace(outcome, first=First(ctx.request_id, receipt.answered_at, replayed=False))
    except (Repeated, Duplicate) as e:
        if isinstance(e, Duplicate) and not receipts.is_duplicate(e):
            raise
    except ApiError as e:
        if not receipts.is_final(e):
            raise
        if await receipts.store(ctx.db, whose(ctx.actor), receipt, ctx.request_id, e.body(), error=e):
            e.first = First(ctx.request_id, receipt.answered_at, replayed=False)
            raise
    return await _replay(op, ctx, receipt)


def _outcome(result: Result) -> Outcome[Any]:  # Any: of whichever operation
    assert not isinstance(result, Page), "what writes does not list"
    return result if isinstance(result, Outcome) else Outcome(result)


async def _replay(op: Operation, ctx: Context, receipt: Receipt) -> Result:
    """Answer as the first time."""
    row = await receipts.find(ctx.db, whose(ctx.actor), receipt.key)
    if row is None:
        raise Contended  # it was there a moment ago: a day old, and reaped just now
    receipts.check_same(row, receipt)
    first = First(row.request_id, row.answered_at, replayed=True)
    if error := receipts.error_of(row, op.errors):
        error.first = first
        raise error
    return Outcome(row.answer, merged_from=row.merged_from, first=first, version=row.version, told=row.told)
