"""Decoding: what a caller sent becomes a request, or an InvalidInput that names the place; never anything else."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from app.decoding import QUERY_PARAMETERS_MAX, Decoder
from app.errors import InvalidInput


class Part(msgspec.Struct, rename="camel"):
    """A part of the request below."""

    piece_count: int | UnsetType = UNSET


class Sample(msgspec.Struct, rename="camel", kw_only=True):
    """A request with a field of every sort."""

    rules: ClassVar[str] = "no field"

    text: str | UnsetType = UNSET
    whole_number: Annotated[int, Meta(ge=1)] | None | UnsetType = UNSET
    any_number: float | UnsetType = UNSET
    yes: bool = False
    when: Annotated[datetime, Meta(tz=True)] | None | UnsetType = UNSET
    words: list[str] | UnsetType = UNSET
    colours: Annotated[
        Literal["red", "blue"] | Annotated[list[Literal["red", "blue"]], Meta(max_length=3)] | UnsetType,
        Meta(),
    ] = UNSET
    parts: Annotated[list[Part], Meta(max_length=2)] | None | UnsetType = UNSET


class Needy(msgspec.Struct):
    """A request with a field that must be sent."""

    id: str


class ClosedPart(msgspec.Struct, forbid_unknown_fields=True):
    """A part that takes nothing it does not know."""

    name: str = ""


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    """A request that takes nothing it does not know."""

    id: str
    parts: list[ClosedPart] = []


DECODER = Decoder(Sample)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SAMPLES = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXT,
        "wholeNumber": st.integers(1, 2**63 - 1),
        "yes": st.booleans(),
        "when": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
        "words": st.lists(TEXT, min_size=1, max_size=5),
        "colours": st.lists(st.sampled_from(["red", "blue"]), min_size=1, max_size=3),
    },
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def refused(body: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        DECODER.from_json(body)
    return refused.value


# --- bodies


@given(SAMPLES)
def test_what_fits_is_taken_as_it_is(fields: dict[str, Any]) -> None:
    req = DECODER.from_json(json.dumps(fields).encode())
    assert json.loads(msgspec.json.encode(req)) == json.loads(
        msgspec.json.encode({"yes": False, **fields, **moment(fields)})
    )


def moment(fields: dict[str, Any]) -> dict[str, Any]:
    return {"when": datetime.fromisoformat(fields["when"])} if "when" in fields else {}


@given(st.binary())
def test_any_bytes_are_a_request_or_invalid(body: bytes) -> None:
    decode_or_refuse(body)


@given(JSON)
def test_any_json_is_a_request_or_invalid(value: Any) -> None:
    decode_or_refuse(json.dumps(value).encode())


@given(st.dictionaries(st.sampled_from(Sample.__struct_encode_fields__), JSON))
def test_any_values_in_known_fields_are_a_request_or_invalid(fields: dict[str, Any]) -> None:
    decode_or_refuse(json.dumps(fields).encode())


def decode_or_refuse(body: bytes) -> None:
    """Anything but an InvalidInput fails the test."""
    with suppress(InvalidInput):
        DECODER.from_json(body)


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
def test_nothing_at_all_is_an_empty_request(body: bytes) -> None:
    assert DECODER.from_json(body) == Sample()


@given(st.integers(1, 2**53))
def test_a_whole_number_may_be_written_as_a_float(number: int) -> None:
    for written in (f"{number}", f"{number}.0", f"{number}.000", f"{number}e0"):
        req = DECODER.from_json(
            f'{{"wholeNumber": {written}, "parts": [{{"pieceCount": {written}}}]}}'.encode()
        )
        assert (req.whole_number, req.parts) == (number, [Part(piece_count=number)])
        assert type(req.whole_number) is int


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()))
def test_a_fraction_is_no_whole_number(number: float) -> None:
    assert refused(json.dumps({"wholeNumber": number}).encode()).details == {"field": "wholeNumber"}


def test_a_fraction_elsewhere_stays_one_beside_a_float_that_is_whole() -> None:
    req = DECODER.from_json(b'{"wholeNumber": 3.0, "anyNumber": 1.5, "text": "3.0"}')
    assert (req.whole_number, req.any_number, req.text) == (3, 1.5, "3.0")


@pytest.mark.parametrize(
    "body", [b'{"text": null}', b'{"yes": null, "words": null, "anyNumber": null}', b'{"colours": null}']
)
def test_null_is_left_out_where_a_field_has_no_null_of_its_own(body: bytes) -> None:
    assert DECODER.from_json(body) == Sample()


def test_null_stays_where_a_field_has_one_and_is_left_out_beside_it_and_within() -> None:
    req = DECODER.from_json(
        b'{"when": null, "text": null, "parts": [{"pieceCount": null}], "wholeNumber": 3.0}'
    )
    assert req == Sample(when=None, parts=[Part()], whole_number=3)


def test_null_is_refused_where_something_is_required_or_is_an_item() -> None:
    with pytest.raises(InvalidInput, match="`id`: Expected text, got null"):
        Decoder(Needy).from_json(b'{"id": null}')
    assert refused(b'{"words": [null]}').details == {"field": "words[0]"}


def test_what_is_missing_is_named_and_beside_it_what_was_sent_in_its_place() -> None:
    with pytest.raises(InvalidInput, match=r"^`id` is required\.$") as missing:
        Decoder(Needy).from_json(b'{"other": 1}')
    assert missing.value.details == {"field": "id"}
    with pytest.raises(InvalidInput, match=r"^`id` is required\. You sent `ID`\.$"):
        Decoder(Needy).from_json(b'{"ID": "x"}')


def test_a_field_that_is_refused_because_nobody_knows_it_is_named_with_the_one_meant() -> None:
    with pytest.raises(InvalidInput, match=r"^Unknown field `idd`; did you mean `id`\?$"):
        Decoder(Closed).from_json(b'{"id": "x", "idd": "y"}')
    with pytest.raises(
        InvalidInput, match=r"^Unknown field `parts\[0\].names`; did you mean `parts\[0\].name`\?$"
    ):
        Decoder(Closed).from_json(b'{"id": "x", "parts": [{"names": "y"}]}')


@pytest.mark.parametrize(
    "body, field, message",
    [
        (b'{"wholeNumber": "3"}', "wholeNumber", "`wholeNumber`: Expected a whole number, got text."),
        (
            b'{"wholeNumber": true}',
            "wholeNumber",
            "`wholeNumber`: Expected a whole number, got true or false.",
        ),
        (b'{"wholeNumber": 0}', "wholeNumber", "`wholeNumber`: Expected a whole number of at least 1."),
        (b'{"wholeNumber": 0.0}', "wholeNumber", "`wholeNumber`: Expected a whole number of at least 1."),
        (b'{"yes": "true"}', "yes", "`yes`: Expected true or false, got text."),
        (b'{"words": ["a", 7]}', "words[1]", "`words[1]`: Expected text, got a whole number."),
        (
            b'{"parts": [{}, {"pieceCount": "x"}]}',
            "parts[1].pieceCount",
            "`parts[1].pieceCount`: Expected a whole number, got text.",
        ),
        (b'{"parts": [{}, {}, {}]}', "parts", "`parts`: Expected at most 2 items."),
        (b'{"colours": "green"}', "colours", "`colours`: 'green' is none of blue, red."),
        (
            b'{"when": "2026-01-01T00:00:00"}',
            "when",
            "`when`: Expected a time with an offset, like 2026-12-01T09:00:00Z.",
        ),
        (
            b'{"when": 1700000000}',
            "when",
            "`when`: Expected a time with an offset, like 2026-12-01T09:00:00Z, got a whole number.",
        ),
        (b"[]", None, "Expected an object, got a list."),
        (
            b'{"colours": "x` - at `$.text`"}',
            "colours",
            "`colours`: 'x` - at `$.text`' is none of blue, red.",
        ),
    ],
)
def test_a_refusal_names_the_place_and_what_is_wrong_there(
    body: bytes, field: str | None, message: str
) -> None:
    error = refused(body)
    assert error.message == message
    assert error.details == ({"field": field} if field else None)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"text": "\x01"}',
        b"{} {}",
        b"NaN",
        b'{"anyNumber": Infinity}',
    ],
)
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    assert refused(body).message.startswith("The body is not valid JSON: ")


@pytest.mark.parametrize(
    "body",
    [b'{"text": "\xff"}', b'{"text": "\xed\xa0\x80"}', b'{"text": "\\ud800"}', b'{"text": "\\udc00\\ud800"}'],
)
def test_what_is_no_unicode_is_refused(body: bytes) -> None:
    assert "not valid" in refused(body).message


@pytest.mark.parametrize("field", ["text", "words", "unknown"])
def test_deep_nesting_is_refused_and_harms_nobody(field: str) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        body = f'{{"{field}": {opening * 100_000}1{closing * 100_000}}}'.encode()
        assert refused(body).status == 400
    assert DECODER.from_json(b'{"text": "still here"}').text == "still here"


@given(TEXT, TEXT)
def test_nul_is_refused_wherever_it_stands(before: str, after: str) -> None:
    bad = f"{before}\0{after}"
    for fields in ({"text": bad}, {"words": ["x", bad]}):
        assert "NUL" in refused(json.dumps(fields).encode()).message
    assert DECODER.from_json(json.dumps({"unknown": bad}).encode()) == Sample()


@given(TEXT)
def test_what_only_looks_like_an_escaped_nul_is_text(text: str) -> None:
    literal = text + "\\u0000"
    assert DECODER.from_json(json.dumps({"text": literal}).encode()).text == literal


def test_a_long_value_is_not_repeated_whole() -> None:
    error = refused(json.dumps({"colours": "x" * 100_000}).encode())
    assert len(error.message) < 300


def test_huge_numbers_are_refused_in_words() -> None:
    for number in ("1" + "0" * 5000, "1e999", "-1e999", "1.5" + "0" * 5000):
        assert refused(f'{{"wholeNumber": {number}}}'.encode()).details == {"field": "wholeNumber"}


# --- query strings


@given(SAMPLES)
def test_a_query_string_says_the_same_as_a_body(fields: dict[str, Any]) -> None:
    written = {key: str(value).lower() if isinstance(value, bool) else value for key, value in fields.items()}
    query = urlencode(written, doseq=True).encode()
    assert DECODER.from_query(query) == DECODER.from_json(json.dumps(fields).encode())


@given(st.binary())
def test_any_query_string_is_a_request_or_invalid(query: bytes) -> None:
    query_or_refuse(query)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Sample.__struct_encode_fields__),
            st.text(st.characters(exclude_categories=["Cs"])),
        )
    )
)
def test_any_parameters_are_a_request_or_invalid(pairs: list[tuple[str, str]]) -> None:
    query_or_refuse(urlencode(pairs).encode())


def query_or_refuse(query: bytes) -> None:
    """Anything but an InvalidInput fails the test."""
    with suppress(InvalidInput):
        DECODER.from_query(query)


@pytest.mark.parametrize(
    "query, req",
    [
        (b"", Sample()),
        (b"unknown=1&text=a%20b+c", Sample(text="a b c")),
        (b"text=", Sample(text="")),
        (b"wholeNumber=10", Sample(whole_number=10)),
        (b"wholeNumber=10.0", Sample(whole_number=10)),
        (b"yes=true", Sample(yes=True)),
        (b"yes=1", Sample(yes=True)),
        (b"words=a&words=b", Sample(words=["a", "b"])),
        (b"words=a", Sample(words=["a"])),
        (b"colours=red", Sample(colours=["red"])),
        (b"colours=red&colours=blue", Sample(colours=["red", "blue"])),
        (b"when=2026-12-01T09:00:00Z", Sample(when=datetime(2026, 12, 1, 9, tzinfo=UTC))),
    ],
)
def test_parameters_are_read_by_the_type_of_their_field(query: bytes, req: Sample) -> None:
    assert DECODER.from_query(query) == req


@pytest.mark.parametrize(
    "query, message",
    [
        (b"text=a&text=b", "`text` is given twice"),
        (b"wholeNumber=x", "`wholeNumber`: Expected a whole number, got text"),
        (b"wholeNumber=1.5", "`wholeNumber`"),
        (b"wholeNumber=", "`wholeNumber`"),
        (b"wholeNumber=0", "`wholeNumber`: Expected a whole number of at least 1"),
        (b"yes=maybe", "`yes`"),
        (b"when=1700000000", "`when`: Expected a time with an offset"),
        (b"when=tomorrow", "`when`: Expected a time with an offset"),
        (b"colours=green", "`colours"),
        (b"text=a%00b", "NUL"),
        (b"words=a&words=%00", "NUL"),
        (b"text=%ED%A0%80", "percent-encode it as UTF-8"),
        (b"text=%ff", "percent-encode it as UTF-8"),
        ("text=é".encode(), "percent-encode it as UTF-8"),
        (b"&".join([b"x=1"] * (QUERY_PARAMETERS_MAX + 1)), "at most 100 parameters"),
    ],
)
def test_a_bad_query_string_is_refused_in_words(query: bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        DECODER.from_query(query)
    assert message in refused.value.message
