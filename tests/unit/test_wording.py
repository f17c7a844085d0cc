"""Complaints of the decoder: every one that a request can cause is said in words for people, not for programmers."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, UnsetType, inspect

from app.errors import InvalidInput
from app.operations import OPERATIONS
from app.rpc import Operation
from app.wording import explained

EVERY_OPERATION = pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: f"{op.family.name}-{op.name}")
OF_THE_LANGUAGE = re.compile(
    r"`(int|float|str|bool|array|object|datetime|null)\b|\bstr\b|\bfloat\b| \| | enum |RFC3339 encoded|regex"
)
OF_ANOTHER_KIND: tuple[Any, ...] = ({"neither": "this"}, [[[]]], "🙃", "", -1, 10**12, 0.5, True, None)


def complaints(op: Operation) -> set[str]:
    """What is said of values that do not fit, in each field by itself."""
    said: set[str] = set()
    for field in msgspec.structs.fields(op.request):
        for value in OF_ANOTHER_KIND:
            try:
                msgspec.convert({field.encode_name: value}, op.request)
            except msgspec.ValidationError as e:
                said.add(explained(e, op.request).message)
            except InvalidInput as e:  # what the request checks by itself
                said.add(e.message)
    return said


@EVERY_OPERATION
def test_no_complaint_names_a_type_of_the_language(op: Operation) -> None:
    for said in complaints(op):
        assert not OF_THE_LANGUAGE.search(said), said


@EVERY_OPERATION
def test_a_wrong_choice_is_answered_with_all_there_are(op: Operation) -> None:
    for field in msgspec.structs.fields(op.request):
        choices = chosen(inspect.type_info(field.type))
        for sent in ("no such choice", ["no such choice"]) if choices else ():
            try:
                msgspec.convert({field.encode_name: sent}, op.request)
            except msgspec.ValidationError as e:
                said = explained(e, op.request)
                if "no such choice" in said.message:
                    assert all(str(choice) in said.message for choice in choices)
                    assert str((said.details or {})["field"]).startswith(field.encode_name)


def chosen(kind: inspect.Type) -> set[Any]:
    """Every choice in a type."""
    match kind:
        case inspect.Metadata(type=inner) | inspect.ListType(item_type=inner):
            return chosen(inner)
        case inspect.UnionType(types=kinds):
            return set().union(*map(chosen, kinds))
        case inspect.LiteralType(values=values):
            return set(values)
        case _:
            return set()


class Part(msgspec.Struct):
    """A part of the request below."""

    colour: Literal["red", "blue"]


class Sample(msgspec.Struct):
    """A request about which much can be said."""

    words: Annotated[list[Annotated[str, Meta(min_length=2)]], Meta(max_length=2)] | UnsetType = msgspec.UNSET
    one: Annotated[list[int], Meta(min_length=1)] | UnsetType = msgspec.UNSET
    share: Annotated[float, Meta(ge=0, le=1)] | None = None
    code: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"
    when: datetime | None = None
    parts: list[Part] | None = None


@pytest.mark.parametrize(
    "sent, message",
    [
        ({"words": ["a"]}, "`words[0]`: Expected at least 2 characters."),
        ({"words": ["aa", "bb", "cc"]}, "`words`: Expected at most 2 items."),
        ({"one": []}, "`one`: Expected at least 1 item."),
        ({"share": 2}, "`share`: Expected a number of at most 1.0."),
        ({"share": "half"}, "`share`: Expected a number, got text."),
        ({"code": "A"}, "`code`: Expected text of the form '^[a-z]+$'."),
        ({"when": "soon"}, "`when`: Expected a time with an offset, like 2026-12-01T09:00:00Z."),
        (
            {"parts": [{"colour": "red"}, {"colour": "green"}]},
            "`parts[1].colour`: 'green' is none of blue, red.",
        ),
        ({"parts": [{}]}, "`parts[0].colour` is required."),
    ],
)
def test_a_complaint_says_what_may_stand_there(sent: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(sent, Sample)
    assert explained(refused.value, Sample).message == message


def test_a_complaint_about_something_long_is_short() -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({"parts": [{"colour": "x" * 100_000}]}, Sample)
    assert len(explained(refused.value, Sample).message) < 500
