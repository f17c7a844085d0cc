"""Acting under a claim: what happens to a write that says `runId`.

Such a write takes effect only while that run is the live claim of its task, held by the caller, with a lease that
the database's clock has not run past; and then it is a sign of life, which moves the end of the lease. Both happen
in the statement that writes, so there is no moment between the check and the write. app/writes/write.py puts both into the
form of a statement that such calls get:

    held   locks the tasks whose live claims the calls that were `sent` act under; all that ends a claim changes that row
    alive  renews the leases of those claims

Locks are taken in one order everywhere, first the task's row and then the run's, so that holders, rivals and the
expiry job wait for each other in a line and never in a circle.
"""

from typing import Annotated, Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Database, Query
from app.db.phrases import moment
from app.errors import ApiError, LeaseLost, NotHolder, RunNotFound
from app.ids import uuid_or_none
from app.types import Id, IdentityKind
from app.writes.access import CALLER, VISIBLE
from app.writes.receipts import Identity

UnderRun = Annotated[
    Id | None | UnsetType,
    Meta(
        description=(
            "Your claim: the id of its `run`. The write is refused with `lease_lost` once it is over, and renews its lease "
            "otherwise."
        )
    ),
]
"""The field `runId` of every operation that writes."""

# The calls that may act: those whose claim lives. `h` is its task.
HELD: Final = """
    held AS MATERIALIZED (
        SELECT i.*
          FROM sent i
          JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = i.claim_id
          JOIN tasks h ON h.workspace_id = r.workspace_id AND h.id = r.work_item_id AND h.run_id = r.id
         WHERE r.holder_id = i.actor_id AND r.lease_expires_at > now()
           FOR NO KEY UPDATE OF h
    )"""


def alive(ends_claims: LiteralString = "") -> LiteralString:
    """The lease of every held claim is renewed, but of those that the statement ends: a row is changed once in it."""
    but = f"AND NOT EXISTS (SELECT FROM {ends_claims} e WHERE e.ended_run_id = r.id)" if ends_claims else ""
    return f"""
    alive AS (
        UPDATE runs r
           SET lease_expires_at = greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds))
          FROM held
         WHERE r.workspace_id = held.workspace_id AND r.id = held.claim_id AND r.ended_at IS NULL {but}
    )"""


FENCE_ERRORS: Final = (LeaseLost, NotHolder, RunNotFound)
"""What a write can answer with because of its `runId`."""


class FateRow(msgspec.Struct):
    """What became of a claim, and who holds its task now."""

    is_callers: bool
    live: bool
    end_reason: str | None
    ended_at: str | None
    task_id: str
    identifier: str
    holder_run_id: str | None
    holder_id: str | None
    holder_kind: IdentityKind | None
    holder_handle: str | None
    holder_lease_expires_at: str | None


FATE = Query(
    FateRow,
    f"""
    WITH i AS ({CALLER})
    SELECT r.holder_id = i.actor_id, t.run_id IS NOT DISTINCT FROM r.id AND r.lease_expires_at > now(),
           CASE WHEN r.ended_at IS NOT NULL THEN r.end_reason WHEN r.lease_expires_at <= now() THEN 'lease_expired' END,
           {moment("coalesce(r.ended_at, r.lease_expires_at)")},
           t.id::text, 'T-' || t.number,
           c.id::text, h.id::text, h.kind, h.handle,
           {moment("c.lease_expires_at")}
      FROM i
      JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = %(run_id)s::uuid AND r.holder_id IS NOT NULL
      JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.work_item_id
      LEFT JOIN runs c ON c.workspace_id = t.workspace_id AND c.id = t.run_id AND c.id <> r.id AND c.lease_expires_at > now()
      LEFT JOIN identities h ON h.workspace_id = c.workspace_id AND h.id = c.holder_id
     WHERE {VISIBLE}
    """,
    pipelined=True,
)


class Under(NamedTuple):
    """The claim that a call says it acts under, and what its request calls the field that says so."""

    run_id: UUID
    field: str


def under(run_id: str | UnsetType | None, *, field: str = "runId") -> UUID | None:
    """The id in a `runId` field; RunNotFound if it cannot be one."""
    if run_id is UNSET or run_id is None:
        return None
    if (id := uuid_or_none(run_id)) is None:
        raise RunNotFound(run_id, field=field)
    return id


async def why_not_live(db: Database, caller: Identity, run_id: UUID, *, field: str) -> ApiError | None:
    """Why a run is not a live claim of the caller; None if it is one."""
    fate = await db.one(FATE, workspace_id=caller.workspace_id, actor_id=caller.identity_id, run_id=run_id)
    if fate is None:
        return RunNotFound(str(run_id), field=field)
    if not fate.is_callers:
        return NotHolder()
    if fate.live:
        return None
    holder = None
    if fate.holder_id is not None:
        holder = {
            "runId": fate.holder_run_id,
            "id": fate.holder_id,
            "kind": fate.holder_kind,
            "handle": fate.holder_handle,
            "leaseExpiresAt": fate.holder_lease_expires_at,
        }
    return LeaseLost(
        run_id=str(run_id),
        task_id=fate.task_id,
        identifier=fate.identifier,
        end_reason=fate.end_reason or "lease_expired",
        ended_at=fate.ended_at,
        holder=holder,
        yours=fate.holder_id == str(caller.identity_id),
    )
