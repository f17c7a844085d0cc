"""Declaring an operation: what follows from the function, and what a bad declaration is told."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, array
from app.errors import TaskNotFound
from app.rpc import (
    AGENT,
    AgentRequest,
    AgentWrite,
    Answer,
    BadDeclaration,
    Context,
    Page,
    changes,
    given,
    operation,
)
from app.writes.fence import FENCE_ERRORS


class FindThing(AgentRequest):
    """What to find."""

    rules: ClassVar[Any] = {}

    thing_name: Annotated[str, Meta(description="Its name.")]
    size: Annotated[int | None | UnsetType, Meta(description="Its size.")] = UNSET
    colour: Annotated[str | None | UnsetType, Meta(description="Its colour.")] = UNSET


class Thing(Answer):
    """A thing."""

    name: str


async def find_thing(ctx: Context, req: FindThing) -> Encoded[Thing]:
    """Find a thing,
    wherever it is.

    Ask nicely.

    Then wait.
    """  # noqa: D205 - a first line may go on in a second
    return Encoded[Thing](msgspec.json.encode(Thing(name=req.thing_name)))


def test_name_path_request_and_documentation_follow_from_the_function() -> None:
    op = operation(scope="task-read", read_only=True, errors=(TaskNotFound,))(find_thing)
    assert (op.name, op.path, op.family) == ("find-thing", "/v1/agent/find-thing", AGENT)
    assert (op.scope, op.read_only, op.errors) == ("task-read", True, (TaskNotFound,))
    assert (op.request, op.result, op.paged) == (FindThing, Thing, False)
    assert (op.summary, op.description) == ("Find a thing, wherever it is.", "Ask nicely.\n\nThen wait.")
    assert op.decoder.from_json(b'{"thingName": "x"}') == FindThing(thing_name="x")


def test_a_page_is_documented_as_a_list() -> None:
    async def list_things(ctx: Context, req: FindThing) -> Page[Thing]:
        """List things."""
        return Page[Thing](array([]))

    op = operation(scope=None, read_only=True)(list_things)
    assert (op.result, op.paged, op.read_only, op.errors) == (list[Thing], True, True, ())


def refusal(handler: Callable[..., Coroutine[Any, Any, Any]]) -> str:
    with pytest.raises(BadDeclaration) as refused:
        operation(scope=None)(handler)
    return str(refused.value)


def test_an_operation_without_a_docstring_is_refused() -> None:
    async def find_thing(ctx: Context, req: FindThing) -> Thing:
        return Thing(name="x")

    assert "find_thing needs a docstring: it is the public documentation" in refusal(find_thing)


def test_a_request_of_no_family_is_refused() -> None:
    class Stray(msgspec.Struct):
        name: Annotated[str, Meta(description="A name.")]

    async def find_thing(ctx: Context, req: Stray) -> Thing:
        """Find."""
        return Thing(name="x")

    async def find_nothing(ctx: Context) -> Thing:
        """Find."""
        return Thing(name="x")

    for handler in (find_thing, find_nothing):
        handler.__annotations__.update({"req": Stray} if handler is find_thing else {})
        assert (
            "must take `(ctx: Context, req: R)` where R belongs to a family, as in `class R(AgentRequest): ...`"
            in refusal(handler)
        )


def test_a_write_that_cannot_say_under_which_claim_it_stands_is_refused() -> None:
    async def find_thing(ctx: Context, req: FindThing) -> Thing:
        """Find."""
        return Thing(name="x")

    assert "must be able to say `runId`: `class R(AgentWrite): ...`" in refusal(find_thing)


def test_a_write_can_be_refused_for_its_claim_without_a_word_in_its_declaration() -> None:
    class NameThing(AgentWrite):
        """What to name."""

    async def name_thing(ctx: Context, req: NameThing) -> Thing:
        """Name it."""
        return Thing(name="x")

    assert operation(scope=None)(name_thing).errors == FENCE_ERRORS


def test_a_field_that_says_nothing_of_itself_is_refused() -> None:
    class Silent(AgentRequest):
        name: str

    class Empty(AgentRequest):
        name: Annotated[str, Meta(min_length=1)]

    for request in (Silent, Empty):

        async def find_thing(ctx: Context, req: AgentRequest) -> Thing:
            """Find."""
            return Thing(name="x")

        find_thing.__annotations__["req"] = request
        message = refusal(find_thing)
        assert "the field name is not described" in message
        assert 'write `name: Annotated[..., Meta(description="...")]`' in message


def test_changes_keep_null_and_leave_out_what_is_absent() -> None:
    req = FindThing(thing_name="x", size=None)
    assert changes(req, "thing_name", "size", "colour") == {"thingName": "x", "size": None}
    assert changes(req, "size") == {"size": None}
    assert changes(FindThing(thing_name="x"), "size", "colour") == {}


def test_given_makes_one_of_absent_and_null() -> None:
    assert [given(value) for value in ("x", "", 0, None, UNSET)] == ["x", "", 0, None, None]


class Row(msgspec.Struct):
    """A row of a list."""

    item: Encoded[Thing]
    cursor: str


def test_a_page_is_cut_where_one_more_row_shows_that_there_are_more() -> None:
    rows = [Row(Encoded[Thing](b"%d" % n), f"after {n}") for n in range(3)]
    for limit, items, cursor in ((2, 2, "after 1"), (3, 3, None), (4, 3, None)):
        page = Page[Thing].cut(rows, limit, total=9)
        assert (page.items.raw, page.cursor) == (
            b"[%b]" % b",".join([b"%d" % n for n in range(items)]),
            cursor,
        )
        assert page.total == 9
    assert Page[Thing].cut(list[Row](), 5).items.raw == b"[]"
