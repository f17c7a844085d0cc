"""The shapes that most rows have. Whatever is of another shape has a struct where it is asked for."""

from typing import Any, Generic, TypeVar

import msgspec

from app.db.encoded import Encoded

T = TypeVar("T")


class One(msgspec.Struct, Generic[T]):
    """A row of one column."""

    value: T


class Listed(msgspec.Struct, Generic[T]):
    """A row of a list: an item, and the cursor that continues behind it."""

    item: Encoded[T]
    cursor: str


class Answered(msgspec.Struct, Generic[T]):
    """A row of a batch: the answer to the call at place `ord`, and what some have to say beside it."""

    ord: int
    answer: Encoded[T]
    merged_from: int | None = None  # the version a merged change was made for
    version: int | None = None  # of what is shown: its ETag, where the family has those
    told: Encoded[Any] | None = (
        None  # Any: what the call did or found besides, as the one who writes it documents it
    )
