"""Statements as values: static text, the shape of a row, and nothing assembled at run time.

The type says what a statement does, and so whether it may be sent again when nobody knows what became of it:

    Query, BatchQuery      read
    Command, BatchCommand  write

Every statement knows the workspace it serves before it is sent: it has the parameter `workspace_id`, or each of its
items has that field. `workspace_in` reads it, for whatever has to choose by it: whose turn it is today, which database
tomorrow. The few that look `everywhere` say so; tests/contract/test_queries.py has the list.
"""

import re
from collections.abc import Callable, Mapping
from typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    LiteralString,
    TypeAlias,
    TypeVar,
    get_origin,
    get_type_hints,
)
from uuid import UUID

import msgspec

R = TypeVar("R", bound=msgspec.Struct)
Item: TypeAlias = Mapping[str, Any]  # Any: what becomes JSON

_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")

TENANT: Final = "workspace_id"
"""What parameters and items call the workspace that a statement serves."""


class Query(Generic[R]):
    """A statement that reads, and the struct that each of its rows becomes, column by column in order.

    Parameters are named, `%(task_id)s`, and cast in the text where Postgres cannot tell their type. The text is
    a `LiteralString`: the type checker proves that nothing a user sent is part of any statement.

    `pipelined` says that it is answered from a few index look-ups, so that it may share a connection with others:
    whoever is behind it in line hardly waits.
    """

    writes: ClassVar[bool] = False

    def __init__(
        self, row: type[R], sql: LiteralString, *, pipelined: bool = False, everywhere: bool = False
    ) -> None:
        self.row = row
        self.sql: LiteralString = sql
        self.parameters = tuple(dict.fromkeys(_PLACEHOLDER.findall(sql)))
        self.numbered_sql = _PLACEHOLDER.sub(lambda match: f"${self.parameters.index(match[1]) + 1}", sql)
        self.pipelined = pipelined
        self.everywhere = everywhere
        self._make: type[R] = (
            get_origin(row) or row
        )  # called for every row, so without the detour through an alias
        if not (everywhere or TENANT in self.parameters or isinstance(self, BatchQuery)):
            message = (
                f"{self!r} does not say whose it is: give it the parameter %({TENANT})s, or say `everywhere`"
            )
            raise TypeError(message)

    def workspace_in(self, sent: Item) -> UUID | None:
        """The workspace that it serves with these parameters, or with this item; None if it looks `everywhere`."""
        return None if self.everywhere else sent[TENANT]

    def make(
        self, values: tuple[Any, ...]
    ) -> R:  # Any: what the database sent, which the test over all queries checks
        """One row."""
        return self._make(*values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._make.__name__}, {' '.join(self.sql.split())[:60]!r}…)"


class Command(Query[R]):
    """A statement that writes. If its fate is unknown, it is not sent again."""

    writes = True


class BatchQuery(Query[R]):
    """A statement that serves any number of calls at once.

    Its only parameter is `%(items)s`, an array with one JSON object per call. A call that has an answer comes back as a
    row that begins with the place of its item, `ord`, from 1; one that has none has no row. Which calls share a statement is the
    database layer's business: operations hand over one item and get one row or none.

    `one_per` says of what in an item a batch holds each at most once: where no version decides, the second call must see
    what the first did. `sort_by` are the ids by which items are sorted, so that
    two batches lock rows in one order. `alone`: it serves one call at a time after all.
    """

    def __init__(
        self,
        row: type[R],
        sql: LiteralString,
        *,
        one_per: Callable[[Item], tuple[object, ...]] | None = None,
        sort_by: tuple[str, ...] = (),
        alone: bool = False,
    ) -> None:
        super().__init__(row, sql)
        self.one_per = one_per
        self.sort_by = sort_by
        self.alone = alone
        if self.parameters != ("items",) or next(iter(get_type_hints(self._make)), None) != "ord":
            message = (
                f"{self!r}: a batch statement has the one parameter %(items)s, and its rows begin with `ord`"
            )
            raise TypeError(message)


class BatchCommand(BatchQuery[R]):
    """The same for a statement that writes."""

    writes = True
