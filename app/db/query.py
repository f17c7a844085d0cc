"""Statements as values: static text, the shape of a row, and nothing assembled at run time."""

import re
from typing import Any, Final, Generic, LiteralString, Self, TypeVar, get_origin, get_type_hints

import msgspec

R = TypeVar("R", bound=msgspec.Struct)

_WRITES: Final = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\b(?! SKIP| OF)")
_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")


# For the FROM of a batch statement: the items, one JSON object `e` per call, and the place of each, `ord`, from 1.
ITEMS: Final = "jsonb_array_elements(%(items)s::jsonb) WITH ORDINALITY AS item(e, ord)"


class Query(Generic[R]):
    """One statement and the struct that each of its rows becomes, column by column in order.

    Parameters are named, `%(task_id)s`, and cast in the text where Postgres cannot tell their type. The text is
    a `LiteralString`: the type checker proves that nothing a user sent is part of any statement.

    `pipelined` says that it is answered from a few index look-ups, so that it may share a connection with others:
    whoever is behind it in line hardly waits.
    """

    def __init__(self, row: type[R], sql: LiteralString, *, pipelined: bool = False) -> None:
        self.row = row
        self._make: type[R] = (
            get_origin(row) or row
        )  # called for every row, so without the detour through an alias
        self.sql: LiteralString = sql
        self.parameters = tuple(dict.fromkeys(_PLACEHOLDER.findall(sql)))
        self.numbered_sql = _PLACEHOLDER.sub(lambda match: f"${self.parameters.index(match[1]) + 1}", sql)
        self.pipelined = pipelined
        self.writes = _WRITES.search(re.sub(r"FOR (NO KEY )?UPDATE|DO UPDATE", "", sql)) is not None

    def without(self, part: LiteralString) -> Self:
        """The same without this part of its text."""
        return type(self)(self.row, self._text_without(part), pipelined=self.pipelined)

    def make(
        self, values: tuple[Any, ...]
    ) -> R:  # Any: what the database sent, which the test over all queries checks
        """One row."""
        return self._make(*values)

    def _text_without(self, part: LiteralString) -> LiteralString:
        text = self.sql.replace(part, "")
        if text == self.sql:
            message = f"{self!r} does not have this part: {part}"
            raise TypeError(message)
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._make.__name__}, {' '.join(self.sql.split())[:60]!r}…)"


class BatchQuery(Query[R]):
    """A statement that serves any number of calls at once.

    Its only parameter is `%(items)s`: see ITEMS. A call that took effect comes back as a row with the `ord` of its
    item; one that did not has no row. Which calls share a statement is the database layer's business: operations hand
    over one item and get one row or none.

    Every item names its `workspaceId`. `one_per` names a field of which a batch holds each value at most once, among
    items without a `version` or with `merge`: where no version decides, the second call must see what the first did.
    """

    def __init__(self, row: type[R], sql: LiteralString, *, one_per: str | None = None) -> None:
        super().__init__(row, sql)
        self.one_per = one_per
        if self.parameters != ("items",) or "ord" not in get_type_hints(self._make):
            message = f"{self!r}: a batch statement has the one parameter %(items)s and a row with `ord`"
            raise TypeError(message)

    def without(self, part: LiteralString) -> Self:
        """The same without this part of its text."""
        return type(self)(self.row, self._text_without(part), one_per=self.one_per)
