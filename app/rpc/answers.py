"""The shapes of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from app.db import Encoded, array
from app.errors import First
from app.types import Timestamp

T = TypeVar("T")


class Answer(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of every object in an answer: camelCase, and closed, so that the document says all there is."""

    brief: ClassVar[tuple[str, ...]] = ()
    """The keys an agent needs to choose and to act, where a list should be short; empty means all of them."""

    news: ClassVar[tuple[str, ...]] = ()
    """The keys that are new to whoever has just written it, with dots for those of what stands inside; empty means all.

    Tools answer a write with these.
    """

    advises: ClassVar[tuple[str, ...]] = ()
    """The keys whose text may send to other operations: tools leave out the sentences that name one which is not there."""

    cut: ClassVar[tuple[str, ...]] = ()
    """The keys whose text tools cut short, where they are not asked for the whole."""


class SdkAnswer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The same in snake_case."""

    news: ClassVar[tuple[str, ...]] = ()


class Row(Protocol[T]):
    """A row of a list: an item, and the cursor that continues behind it."""

    item: Encoded[T]
    cursor: str


class HistoryCutoff(Answer):
    """What the workspace's history window hides: it is kept, but not shown."""

    beyond_count: Annotated[int, Meta(description="How many messages that match are hidden.")]
    cutoff_at: Annotated[Timestamp, Meta(description="The start of what is shown.")]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and where the next one starts: key-set pagination, so a page costs the same anywhere."""

    items: Encoded[list[T]]
    cursor: str | None = None
    total: int | None = None

    @classmethod
    def cut(cls, rows: Sequence[Row[T]], limit: int, total: int | None = None) -> "Page[T]":
        """The first `limit` of rows that were fetched with one to spare, which tells whether there are more."""
        page = rows[:limit]
        items = array(row.item for row in page)
        return cls(items, page[-1].cursor if len(rows) > limit else None, total)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """An answer with something to say beside it, for which the data has no place: each door says it its own way."""

    result: "Encoded[T] | Excerpt[T] | msgspec.Struct"
    merged_from: int | None = None  # the version a merged change was made for
    wrote: bool = True  # False: there was nothing to write, so no statement has stored the idempotency key
    first: First | None = None  # set by the pipeline if the call has an idempotency key
    version: int | None = None  # of what is shown: its ETag, where the family has those
    told: "Encoded[Any] | None" = None  # Any: what the call did or found besides; app/operations/told.py


@dataclass(frozen=True, slots=True)
class Excerpt(Generic[T]):
    """Part of something longer, in an object of its own: how it goes on, and what the history window hides of it."""

    data: Encoded[T]
    has_more: bool
    cursor: str | None
    history_cutoff: HistoryCutoff | None


Result: TypeAlias = (
    Encoded[Any] | Page[Any] | Excerpt[Any] | Outcome[Any] | msgspec.Struct
)  # Any: of what, the operation's `result` says
