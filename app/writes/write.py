"""A write as a value: what it takes, what it does, and what it answers. All that every write shares is added here.

    RENAME = Write[Channel](
        takes="channel_id uuid, name text",
        does=\"\"\"c AS (UPDATE channels c SET … FROM i WHERE c.workspace_id = i.workspace_id AND … RETURNING c.*, i.ord)\"\"\",
        answers=f"SELECT c.ord, {CHANNEL_JSON} AS answer FROM c",
        locks="channel_id",
    )

`i` are the calls that may act, one row each: its place `ord`, who calls (`workspace_id`, `actor_id`, `actor_kind`,
`request_id`), and the columns that the write takes. Any number of calls share one statement, so the parts are written
for a set.

Whoever sends a call again under its idempotency key, or writes under a claim that is over, is not in `i`. For that
one write has up to four texts, made of the same parts:

    plain          i, does, answers
    with a key     i without keys that were used; the answer is stored (receipts.py)
    under a claim  i of those who hold theirs, in the order of `locks`; their leases are renewed (fence.py)
    both

So a call pays for nothing it does not use. `Context.write` picks the text and says why there was no answer, where
the reason is one of these.
"""

import re
from collections.abc import Callable
from copy import copy
from typing import Any, Final, Generic, LiteralString, TypeAlias, TypeVar

import msgspec

from app.db import Answered, BatchCommand, BatchQuery, Item
from app.writes.fence import HELD, alive
from app.writes.receipts import STORED, UNUSED
from app.writes.turns import Turn

T = TypeVar("T")

OnePer: TypeAlias = Callable[[Item], tuple[object, ...]]
"""What of an item a statement takes once: see BatchQuery."""

_CALLER: Final = "workspace_id uuid, actor_id uuid, actor_kind text, request_id text"
_COLUMN: Final = re.compile(r"(\w+) \w+(?:\[\])?")


def calls(takes: LiteralString) -> LiteralString:
    """The items of a batch as rows: who calls, and these columns, written as in a table."""
    return f"""
        SELECT i.*, i.ordinality AS ord
          FROM ROWS FROM (jsonb_to_recordset(%(items)s::jsonb) AS ({_CALLER}, {takes})) WITH ORDINALITY AS i"""


class Locked(msgspec.Struct):
    """A row that says only that a lock is held."""

    ord: int


class Write(Generic[T]):
    """A statement that changes something, and answers each call that took effect with the JSON of a `T`.

    takes       the columns of a call, with their types
    does        CTEs over `i`
    answers     a SELECT of `ord` and `answer`; of `merged_from` if it `merges`, of `version` if it is `versioned`, and of
                `told` if it `tells` something besides
    locks       the columns of `i` in whose order rows are locked
    one_per     what calls that share a statement must not share: see BatchQuery
    ends_claims a CTE among `does` with the `ended_run_id` of claims that the write ends: those are not renewed
    own_fence   `runId` names the run that is written, and `does` itself says who may
    turn        what is first waited for, so that no two calls of a workspace do such a thing at once
    first       a SELECT of the `ord` of calls, which locks what `does` then looks at: a statement of its own before it,
                whose calls are `i` by the same rules
    alone       it serves one call at a time
    """

    def __init__(
        self,
        *,
        takes: LiteralString,
        does: LiteralString,
        answers: LiteralString,
        locks: LiteralString = "",
        one_per: OnePer | None = None,
        merges: bool = False,
        versioned: bool = False,
        tells: bool = False,
        ends_claims: LiteralString = "",
        own_fence: bool = False,
        turn: Turn | None = None,
        first: LiteralString = "",
        alone: bool = False,
    ) -> None:
        self.columns = frozenset(_COLUMN.findall(takes))
        self.own_fence = own_fence
        self.turn: Turn | None = turn
        self._first: LiteralString = first
        self._takes: LiteralString = takes
        self._does: LiteralString = does
        self._answers: LiteralString = answers
        self._locks: LiteralString = locks
        self._one_per = one_per
        self._merged_from: LiteralString = "merged_from" if merges else "NULL::int AS merged_from"
        self._version: LiteralString = "version" if versioned else "NULL::int AS version"
        self._told: LiteralString = "told" if tells else "NULL::json AS told"
        self._ends_claims: LiteralString = ends_claims
        self._alone = alone
        self._forms: dict[tuple[bool, bool], BatchCommand[Answered[T]]] = {}
        self._firsts: dict[tuple[bool, bool], BatchQuery[Locked]] = {}

    def in_turn(self, turn: Turn) -> "Write[T]":
        """The same for calls that must take their turn."""
        other = copy(self)
        other.turn = turn
        return other

    def form(self, *, keyed: bool, claimed: bool) -> BatchCommand[Answered[T]]:
        """Its statement for calls with or without an idempotency key, under a claim or under none."""
        claimed = claimed and not self.own_fence
        form = self._forms.get((keyed, claimed))
        if form is None:
            form = self._forms[keyed, claimed] = BatchCommand[Answered[T]](
                Answered[T],
                self._text(keyed=keyed, claimed=claimed),
                one_per=_and_key(self._one_per) if keyed else self._one_per,
                sort_by=(
                    *(self._locks.split(", ") if self._locks else ()),
                    *(("claim_id",) if claimed else ()),
                ),
                alone=self._alone,
            )
        return form

    def first(self, *, keyed: bool, claimed: bool) -> BatchQuery[Locked] | None:
        """The statement that locks before it, if it has one."""
        if not self._first:
            return None
        claimed = claimed and not self.own_fence
        first = self._firsts.get((keyed, claimed))
        if first is None:
            text: LiteralString = f"""
    WITH RECURSIVE {self._acting(keyed=keyed, claimed=claimed)}
    {self._first}"""
            first = self._firsts[keyed, claimed] = BatchQuery(Locked, text, alone=True)
        return first

    @property
    def plain(self) -> BatchCommand[Answered[T]]:
        """The form of calls that have neither key nor claim."""
        return self.form(keyed=False, claimed=False)

    def forms(self) -> dict[str, BatchQuery[Any]]:  # Any: answers, or locks
        """All its statements, by name."""
        forms: dict[str, BatchQuery[Any]] = {}
        for name, keyed, claimed in _FORMS[:2] if self.own_fence else _FORMS:
            forms[name] = self.form(keyed=keyed, claimed=claimed)
            if (first := self.first(keyed=keyed, claimed=claimed)) is not None:
                forms[f"{name}, first"] = first
        return forms

    def _acting(self, *, keyed: bool, claimed: bool) -> LiteralString:
        """The calls that may act."""
        takes = self._takes
        if keyed:
            takes = f"{takes}, receipt jsonb"
        if claimed:
            takes = f"{takes}, claim_id uuid"
        unused = f"WHERE {UNUSED}" if keyed else ""
        if claimed:
            # Sorting takes all of them before it gives the first: all claims' tasks are locked before any row is written.
            order = ", ".join(f"i.{name}" for name in (self._locks or "ord").split(", "))
            return f"""sent AS ({calls(takes)}
    ), {HELD}, i AS MATERIALIZED (
        SELECT i.* FROM held i {unused} ORDER BY {order}
    )"""
        if keyed:
            return f"""i AS MATERIALIZED (
        SELECT i.* FROM ({calls(takes)}) i {unused}
    )"""
        return f"""i AS MATERIALIZED ({calls(takes)}
    )"""

    def _text(self, *, keyed: bool, claimed: bool) -> LiteralString:
        acting, does = self._acting(keyed=keyed, claimed=claimed), self._does
        if claimed:
            does = f"{does}, {alive(self._ends_claims)}"
        answered: LiteralString = f"""
        SELECT ord, answer, {self._merged_from}, {self._version}, {self._told} FROM ({self._answers}) answered"""
        if not keyed:
            return f"""
    WITH RECURSIVE {acting}, {does}{answered}"""
        return f"""
    WITH RECURSIVE {acting}, {does}, answered AS ({answered}
    ), {STORED}
    SELECT * FROM answered"""


_FORMS: Final = (
    ("plain", False, False),
    ("keyed", True, False),
    ("claimed", False, True),
    ("keyed and claimed", True, True),
)


def _and_key(one_per: OnePer | None) -> OnePer:
    """The same, and the key: of two calls with one key the second must see what the first has stored."""
    return lambda item: (
        *(one_per(item) if one_per is not None else ()),
        (item["actor_id"], item["receipt"].key),
    )


def one(field: str) -> OnePer:
    """For statements that take each value of a field once."""
    return lambda item: (item[field],)
