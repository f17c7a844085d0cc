"""Calls that arrive while the database is busy travel together.

A call to a BatchQuery puts its item in line and waits for a future. Whenever one of the few connections is idle,
the batcher takes up to 64 items of one statement and sends them as one: one round trip, one commit. Nothing waits
for company: with nothing under way a lone call leaves in the same turn of the event loop. What comes meanwhile leaves
together when the answer is there, so batches grow exactly as the load does. The other connections are for when that
takes long: a batch that waits for a lock or a slow disk holds the rest up for a few milliseconds at most.

    submit()   an item joins the line of its statement, within that the line of its tenant
    pump()     for an idle connection, if none has just been sent something: the next statement in turn gets a batch
    _settle()  rows come back with `ord`; each future gets its row, and the items without one get None

What keeps it safe:

* Items that write are sorted before they leave, so that two batches lock rows in the same order.
* Tenants take turns within a batch, and none may fill the line: a busy one cannot shut others out.
* An error spoils only the statement it is in. Its items are then run one by one on ordinary connections, where a
  bad one fails alone. The database undid the batch whole, so nothing is done twice.
* If the connection is lost instead, nobody knows what was done: each call that writes hears 503 and none is sent
  again. One that only reads is, on an ordinary connection, which may be a better one.
* A caller that goes away leaves its item behind; the others do not notice.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeAlias

import msgspec
import psycopg
from psycopg import pq

from app.db.adapters import load
from app.db.causes import Causes
from app.db.encoded import as_json
from app.db.pipeline import PipelineConnection
from app.db.query import TENANT, BatchQuery, Item
from app.errors import DatabaseUnavailable, Overloaded
from app.tally import Tally
from app.tally.shape import BATCH

# The batcher carries the items and rows of every statement and looks into none; `Database` gives them their types.
AnyRow: TypeAlias = Any
AnyBatchQuery: TypeAlias = BatchQuery[Any]
AnyFuture: TypeAlias = "asyncio.Future[Any]"

# What one statement serves at most. Of Postgres' time an update takes 190 microseconds alone, 40 in a batch of 16
# and 28 in one of 64; beyond that there is little left to share.
BATCH_ITEMS_MAX: Final = 64
# Of reads fewer: their start is a small part, and while Postgres is at one half of those who wait, the service can
# answer the other. With all in one batch the two would wait for each other in turn.
READ_BATCH_ITEMS_MAX: Final = 12
LINE_ITEMS_MAX: Final = 4096  # about a third of a second of work; later calls are told to retry
TENANT_ITEMS_MAX: Final = 2048  # half of that, so that no tenant can fill the line
ASIDE_ITEMS_MAX: Final = 256  # items passed over while one batch is gathered, so that gathering stays short
# After this long without an answer another batch leaves beside the one under way. Sending it at once would make two
# small batches of one large one, each with a start and a commit of its own: a third fewer calls a second.
LATE_SECONDS: Final = 0.005
WAIT_SECONDS_MAX: Final = 5.0  # in line; then the caller hears 503 and knows that nothing was written
SWEEP_INTERVAL_SECONDS: Final = 0.5

encode_items: Final = msgspec.json.Encoder(enc_hook=as_json).encode


class LineFull(Exception):
    """A call was not sent, because too many were before it or for too long; the log says which."""


class _Waiting:
    """An item in line."""

    __slots__ = ("future", "item", "only_ones", "since", "tenant")

    def __init__(self, query: AnyBatchQuery, item: Item, future: AnyFuture) -> None:
        self.item = item
        self.future = future
        self.since = time.monotonic()
        self.tenant: int = item[TENANT].int  # a number is looked up faster than the id
        self.only_ones = query.one_per(item) if query.one_per is not None else ()

    def answer(self, row: AnyRow) -> None:
        """Give the caller its row, unless it has one or has gone away."""
        if not self.future.done():
            self.future.set_result(row)

    def refuse(self, error: Exception) -> None:
        """Raise this where the caller waits, unless it has gone away."""
        if not self.future.done():
            self.future.set_exception(error)


class _Line:
    """The items that wait for one statement, by tenant."""

    def __init__(self) -> None:
        self.tenants: OrderedDict[int, deque[_Waiting]] = OrderedDict()
        self.length = 0

    def add(self, waiting: _Waiting) -> bool:
        """Join the line, or be refused because it is full or holds too many of this tenant."""
        line = self.tenants.get(tenant := waiting.tenant)
        if self.length >= LINE_ITEMS_MAX or (line is not None and len(line) >= TENANT_ITEMS_MAX):
            waiting.refuse(Overloaded())
            return False
        if line is None:
            line = self.tenants[tenant] = deque()
        line.append(waiting)
        self.length += 1
        return True

    def take(self, under_way: set[object], items_max: int) -> list[_Waiting]:
        """The next batch: tenants in turn, one item each, until it is full or nobody is left.

        Items that must not share what is in `under_way` stay in line; what the batch takes is added there.
        """
        batch: list[_Waiting] = []
        aside: list[_Waiting] = []
        while self.tenants and len(batch) < items_max and len(aside) < ASIDE_ITEMS_MAX:
            tenant, line = self.tenants.popitem(last=False)
            waiting = line.popleft()
            self.length -= 1
            if line:
                self.tenants[tenant] = line
            if waiting.future.done():  # its caller has gone away, and nothing was sent yet
                continue
            if waiting.only_ones:
                if not under_way.isdisjoint(waiting.only_ones):
                    aside.append(waiting)
                    continue
                under_way.update(waiting.only_ones)
            batch.append(waiting)
        for waiting in reversed(aside):
            self.tenants.setdefault(waiting.tenant, deque()).appendleft(waiting)
            self.length += 1
        return batch

    def take_older_than(self, since: float) -> list[_Waiting]:
        """All items that wait since before a moment."""
        old: list[_Waiting] = []
        for tenant, line in list(self.tenants.items()):
            while line and line[0].since < since:
                old.append(line.popleft())
                self.length -= 1
            if not line:
                del self.tenants[tenant]
        return old


class Batcher:
    """A few connections, and the lines of those who wait for one."""

    def __init__(
        self,
        run_alone: Callable[[AnyBatchQuery, Item], Awaitable[AnyRow]],
        causes: Causes,
        tally: Tally | None = None,
    ) -> None:
        self.connections: list[PipelineConnection] = []
        self._run_alone = run_alone
        self._causes = causes
        self._tally = tally
        self._lines: OrderedDict[AnyBatchQuery, _Line] = OrderedDict()  # those in which somebody waits
        self._only_ones_under_way: set[object] = set()
        self._pump_soon = False
        self._sent_at = 0.0
        self._late: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._alone: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # asked for once: that is a call into the kernel

    @property
    def waiting(self) -> int:
        """How many items are in line."""
        return sum(line.length for line in self._lines.values())

    def submit(self, query: AnyBatchQuery, item: Item) -> AnyFuture:
        """Put an item in line. The future gets its row, or None if it had no effect."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        future: AnyFuture = loop.create_future()
        line = self._lines.get(query)
        if line is None:
            line = self._lines[query] = _Line()
        if not line.add(_Waiting(query, item, future)):
            self._causes.refused(BATCH, LineFull(f"{line.length} calls wait for one statement"))
        if not self._pump_soon:
            self._pump_soon = True
            loop.call_soon(self.pump)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_INTERVAL_SECONDS, self._sweep)
        return future

    def pump(self) -> None:
        """Give an idle connection a batch, statements in turn; if another is under way, only once that is late."""
        self._pump_soon = False
        if not self._lines:
            return
        for connection in self._idle():
            for _ in range(len(self._lines)):
                query, line = self._lines.popitem(last=False)
                items_max = BATCH_ITEMS_MAX if query.writes else READ_BATCH_ITEMS_MAX
                batch = line.take(self._only_ones_under_way, items_max)
                if line.length:
                    self._lines[query] = line
                if batch:
                    self._send(connection, query, batch)
                    break

    def _idle(self) -> Iterator[PipelineConnection]:
        """The connections that may be sent something now."""
        up = [connection for connection in self.connections if connection.up]
        for connection in up:
            if connection.under_way:
                continue
            if any(other.under_way for other in up):
                early_seconds = self._sent_at + LATE_SECONDS - time.monotonic()
                if early_seconds > 0:
                    if self._late is None:
                        self._late = asyncio.get_running_loop().call_later(early_seconds, self._is_late)
                    return
            yield connection

    def _is_late(self) -> None:
        self._late = None
        self.pump()

    def _send(self, connection: PipelineConnection, query: AnyBatchQuery, batch: list[_Waiting]) -> None:
        self._sent_at = time.monotonic()
        if self._tally is not None:
            self._tally.batch(len(batch), writes=query.writes)
        if sort_by := query.sort_by:
            batch.sort(key=lambda waiting: _place(waiting, sort_by))
        items = encode_items([waiting.item for waiting in batch])
        sent = connection.send(query.numbered_sql, [items])
        sent.add_done_callback(lambda sent: self._settle(query, batch, sent))

    def _settle(
        self, query: AnyBatchQuery, batch: list[_Waiting], sent: "asyncio.Future[pq.abc.PGresult]"
    ) -> None:
        """Hand out what came back, and send the next batch."""
        for waiting in batch:
            self._only_ones_under_way.difference_update(waiting.only_ones)
        try:
            rows = load(sent.result())
        except psycopg.Error:
            self._run_each(query, batch)
        except DatabaseUnavailable:
            if query.writes:
                for waiting in batch:
                    waiting.refuse(DatabaseUnavailable())
            else:
                self._run_each(query, batch)
        else:
            for row in rows:
                ord: int = row[0]
                batch[ord - 1].answer(query.make(row))
            if len(rows) < len(batch):
                for waiting in batch:
                    waiting.answer(None)
        self.pump()

    def _run_each(self, query: AnyBatchQuery, batch: list[_Waiting]) -> None:
        """Run the items of a batch one by one."""
        for waiting in batch:
            self._alone.add(task := asyncio.ensure_future(self._run_one(query, waiting)))
            task.add_done_callback(self._alone.discard)

    async def _run_one(self, query: AnyBatchQuery, waiting: _Waiting) -> None:
        """Run one item on its own, and give its caller whatever comes of it."""
        try:
            waiting.answer(await self._run_alone(query, waiting.item))
        except Exception as e:  # noqa: BLE001 -- nothing is swallowed: it is raised where the caller waits
            waiting.refuse(e)

    def _sweep(self) -> None:
        """Tell those who have waited too long. They were not sent, so nothing of theirs was written."""
        self._sweeper = None
        for query, line in list(self._lines.items()):
            for waiting in line.take_older_than(time.monotonic() - WAIT_SECONDS_MAX):
                waiting.refuse(Overloaded())
                self._causes.refused(BATCH, LineFull(f"it waited in line for {WAIT_SECONDS_MAX:g} s"))
            if not line.length:
                del self._lines[query]
        if self._lines:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_INTERVAL_SECONDS, self._sweep)


def _place(waiting: _Waiting, sort_by: tuple[str, ...]) -> list[int]:
    """What an item is sorted by: the numbers of its ids, which compare faster than the ids."""
    item = waiting.item
    return [waiting.tenant, *(id.int if (id := item.get(name)) else 0 for name in sort_by)]
