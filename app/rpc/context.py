"""What a handler may touch besides its request."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar
from uuid import UUID

import msgspec

from app.db import Answered, BatchCommand, BatchQuery, Database, Item, Query, Whose
from app.errors import ApiError, Contended
from app.rpc.answers import Outcome
from app.rpc.limits import UNLIMITED, Allowance, Bucket
from app.types import IdentityKind
from app.writes import fence, receipts
from app.writes.fence import Under
from app.writes.receipts import Identity, Receipt, Repeated
from app.writes.turns import Turn, take_turn
from app.writes.write import Locked, Write

T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)


ATTEMPTS_MAX: Final = (
    30  # where no version decides, losing this often means that what is written changes all the time
)


FREE: Final = Allowance(Bucket(UNLIMITED), Bucket(UNLIMITED))


class Actor(msgspec.Struct, frozen=True):
    """Who is calling: the identity behind the API key."""

    workspace_id: UUID
    id: UUID
    kind: IdentityKind
    handle: str
    scopes: frozenset[str]
    key_id: UUID
    key_prefix: str
    """What everybody may see of the key."""
    allowance: Allowance = FREE  # what it may ask for


class Admission(Protocol):
    """What let a call in, which it can ask again after it has waited."""

    async def check(self) -> None:
        """Raise if the key is no longer good."""

    def wait(self) -> None:
        """Note that the call is about to wait. Raises WaitsLimited if too many do."""


class Context(msgspec.Struct, frozen=True):
    """What a handler may touch besides its request: four verbs, and who calls.

    one, all  ask a Query
    ask       the same of a BatchQuery
    write     change something; `settle` does so until it is known what came of it
    """

    db: Database
    actor: Actor
    request_id: str
    idempotency_key: str | None = None  # from the header; one in the body stands in the request
    receipt: Receipt | None = (
        None  # set by the pipeline where there is a key, for the statement that stores it
    )
    under: Under | None = None  # set by the pipeline where the request says `runId`
    admission: Admission | None = None  # of a call that may wait: whether its key is still good
    for_model: bool = False  # whether a model reads the answer: the call of a tool
    finds_similar: bool = True  # whether it is told what looks like a task it creates, as the setting says

    def about_to_wait(self) -> None:
        """Before waiting: raise if too many calls do."""
        if self.admission is not None:
            self.admission.wait()

    async def still_admitted(self) -> None:
        """After waiting, before taking anything: raise if the caller's key has ended meanwhile."""
        if self.admission is not None:
            await self.admission.check()

    @property
    def whose(self) -> Whose:
        """For whom a transaction runs."""
        return Whose(self.actor.workspace_id, self.actor.id)

    @property
    def caller(self) -> dict[str, UUID]:
        """Who asks, and in which workspace, as the parameters of a query."""
        return {"workspace_id": self.actor.workspace_id, "actor_id": self.actor.id}

    @property
    def who(self) -> dict[str, object]:
        """Who calls, in which request, under which key and claim: what every item of a write begins with."""
        who: dict[str, object] = {
            "workspace_id": self.actor.workspace_id,
            "actor_id": self.actor.id,
            "actor_kind": self.actor.kind,
            "request_id": self.request_id,
        }
        if self.receipt is not None:
            who["receipt"] = self.receipt
        if self.under is not None:
            who["claim_id"] = self.under.run_id
        return who

    @property
    def run_id(self) -> UUID:
        """The run that the request names, where it has to name one."""
        assert self.under is not None, "the field is required"
        return self.under.run_id

    def one(self, query: Query[R], **parameters: object) -> Awaitable[R | None]:
        """The first row of a query, or None. Whoever asks, and in which workspace, goes without saying."""
        return self.db.one(query, **self.caller, **parameters)

    def all(self, query: Query[R], **parameters: object) -> Awaitable[list[R]]:
        """The same for every row of it."""
        return self.db.all(query, **self.caller, **parameters)

    def ask(self, query: BatchQuery[R], **item: object) -> Awaitable[R | None]:
        """The row of a batch that belongs to this call, or None."""
        return self.db.ask(query, {**self.caller, **item})

    def send(self, write: Write[T], **item: object) -> Awaitable[Answered[T] | None]:
        """Send a write in the form that suits the call: its row if it took effect, else None, whatever the reason."""
        keyed, claimed = self.receipt is not None, self.under is not None
        form, first = write.form(keyed=keyed, claimed=claimed), write.first(keyed=keyed, claimed=claimed)
        assert item.keys() <= write.columns, f"it takes no {item.keys() - write.columns}"
        item = {**self.who, **item}
        if write.turn is None and first is None:
            return self.db.write(form, item)
        return self._in_transaction(write.turn, first, form, item)

    async def write(self, write: Write[T], **item: object) -> "Outcome[T] | None":
        """Change something, and answer with what came of it.

        Raises what stands in the way of any write: this one had its effect before, under its key, or the claim is over.
        None says that neither is so: the reason is the caller's to find.
        """
        row = await self.send(write, **item)
        if row is not None:
            return Outcome(row.answer, merged_from=row.merged_from, version=row.version, told=row.told)
        if write.own_fence:
            await self.unless_answered()
        else:
            await self.unless_late()
        return None

    async def settle(
        self, write: Write[T], otherwise: Callable[[], Awaitable["Outcome[T] | None"]], **item: object
    ) -> "Outcome[T]":
        """Write until it is known what came of it.

        `otherwise` looks when there was no effect: it raises what stands in the way, or answers without a write. None
        says that nothing stands in the way any more: what did has gone between the two statements.
        """
        for _ in range(ATTEMPTS_MAX):
            if (done := await self.write(write, **item)) is not None or (
                done := await otherwise()
            ) is not None:
                return done
        raise Contended

    async def unless_answered(self) -> None:
        """When a write had no effect: raise Repeated if that is so because it had it before, under this key."""
        if self.receipt is None:
            return
        row = await receipts.find(self.db, whose(self.actor), self.receipt.key)
        if row is not None and receipts.says_of(row, self.receipt):
            raise Repeated

    async def unless_late(self) -> None:
        """When a write had no effect: raise if that is so because it had it before, or because its claim is over."""
        await self.unless_answered()
        if self.under is not None:
            await self.unless_over()

    async def unless_over(self) -> None:
        """When a write had no effect: raise if that is so because the claim it says it is made under is over."""
        assert self.under is not None, "it names one"
        if (lost := await self.lost(self.under.run_id, field=self.under.field)) is not None:
            raise lost

    async def lost(self, run_id: UUID, *, field: str = "runId") -> ApiError | None:
        """Why a run is not a live claim of the caller; None if it is one."""
        return await fence.why_not_live(self.db, whose(self.actor), run_id, field=field)

    async def _in_transaction(
        self,
        turn: Turn | None,
        first: BatchQuery[Locked] | None,
        form: BatchCommand[Answered[T]],
        item: Item,
    ) -> Answered[T] | None:
        async with self.db.transaction(self.whose) as tx:
            if turn is not None:
                await take_turn(tx, whose(self.actor), self.receipt, turn)
            if first is not None and await tx.ask(first, item) is None:
                return None
            return await tx.write(form, item)


def whose(actor: Actor) -> Identity:
    """Idempotency keys belong to an identity, whichever of its API keys it uses."""
    return Identity(actor.workspace_id, actor.id)
