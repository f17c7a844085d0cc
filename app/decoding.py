"""From what a caller sent to a checked struct, or an InvalidInput that says what to correct.

Decoding is strict: `"3"` is not a number. There are two licences. A whole number may be written `3.0`, because a
published client types numbers as floats (contract 0.6). And null means left out in a field that may be left out and
has no null of its own: forms and frameworks send it for what nobody filled in.
"""

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from app.errors import InvalidInput
from app.wording import MOMENT, explained

S = TypeVar("S", bound=msgspec.Struct)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"
"""JSON of any shape, before it is checked; `float` includes int."""

Sent: TypeAlias = dict[str, Any]  # Any: JSON of any shape
"""The object in a body, before it is checked against a request."""

QUERY_PARAMETERS_MAX: Final = 100  # more than any operation has fields, repeated lists included


class Decoder(Generic[S]):
    """Reads one kind of request, from a JSON body or from a query string. Built once per operation."""

    def __init__(self, request: type[S]) -> None:
        self._request = request
        self._json = msgspec.json.Decoder(request)
        self._kind = msgspec.inspect.type_info(request)
        kinds = {f.encode_name: msgspec.inspect.type_info(f.type) for f in msgspec.structs.fields(request)}
        self.known = frozenset(kinds)
        """The names that it reads; others are ignored, unless the request forbids them."""
        self._stored = [
            f.name
            for f in msgspec.structs.fields(request)
            if "items"
            not in (getattr(kinds[f.encode_name], "extra", None) or {})  # whose rows are decoded later
        ]
        self._elsewhere = frozenset(name for name, place in places(request).items() if place != "query")
        self._lists = frozenset(
            name for name, kind in kinds.items() if _takes(msgspec.inspect.ListType, kind)
        )
        self._moments = frozenset(
            name for name, kind in kinds.items() if _takes(msgspec.inspect.DateTimeType, kind)
        )

    def from_json(self, body: bytes, placed: Mapping[str, str] | None = None) -> S:
        """Decode a JSON body; an empty one counts as `{}`. `placed` are fields that stand elsewhere, in the path for instance."""
        return self.read(body, placed)[0]

    def read(self, body: bytes, placed: Mapping[str, str] | None = None) -> tuple[S, Sent]:
        """The same, and beside it everything that was sent, unknown fields too."""
        try:
            sent = _sent_in(body)
        except _NumberTooLarge:
            raise self._number_too_large(body) from None
        try:
            try:
                req = self._converted(sent, placed or {})
            except msgspec.ValidationError as e:
                if not any(found in str(e) for found in _FORGIVEN):
                    raise
                forgiven = _whole_object(_without_idle_nulls(self._kind, sent))
                req = self._converted(forgiven, placed or {})
            if placed or b"\\u0000" in body:
                refuse_nul([getattr(req, name) for name in self._stored])
        except msgspec.ValidationError as e:
            raise explained(e, self._request, sent) from None
        except RecursionError:
            raise _too_deep() from None
        return req, sent

    def _number_too_large(self, body: bytes) -> InvalidInput:
        """Which number it is, if it stands in a field we know."""
        try:
            self._json.decode(body)
        except msgspec.ValidationError as e:
            return explained(e, self._request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        return InvalidInput("The body holds a number that is too large or too long.")

    def _converted(self, sent: Sent, placed: Mapping[str, str]) -> S:
        """A request. Fields that stand elsewhere count there, whatever the body says."""
        if placed:
            in_body = {name: value for name, value in sent.items() if name not in self._elsewhere}
            return msgspec.convert({**in_body, **placed}, self._request)
        return msgspec.convert(sent, self._request)

    def from_query(self, query: bytes, ignored: list[str] | None = None) -> S:
        """Decode a query string; a list is written by repeating its parameter. `ignored` takes the names that nobody reads."""
        values: dict[str, str | list[str]] = {}
        for name, value in parameters(query):
            if name not in self.known:
                if ignored is not None:
                    ignored.append(name)
                continue
            if name in self._moments and ":" not in value:  # msgspec would take a bare number for an epoch
                raise InvalidInput(f"`{name}`: Expected {MOMENT}.", field=name)
            if name not in values:
                values[name] = [value] if name in self._lists else value
            elif isinstance(earlier := values[name], list):
                earlier.append(value)
            else:
                raise given_twice(name)
        try:
            req = msgspec.convert(values, self._request, strict=False)
        except msgspec.ValidationError as e:
            raise explained(e, self._request, values) from None
        for name, field in zip(req.__struct_encode_fields__, req.__struct_fields__, strict=True):
            if name in values and getattr(req, field) is None:  # msgspec would take the word `null` for one
                raise InvalidInput(f"`{name}`: nothing is null in a query; leave it out.", field=name)
        refuse_nul(req)
        return req


def _sent_in(body: bytes) -> Sent:
    """The object in a body, or an InvalidInput that says why there is none.

    The whole body is decoded here, once, whatever the request knows of it: so it is JSON and UTF-8 for everyone who
    looks at it later, or the call is refused.
    """
    try:
        return _object(body or b"{}")
    except msgspec.ValidationError as e:
        if "out of range" in str(e):
            raise _NumberTooLarge from None
        raise explained(e) from None
    except msgspec.DecodeError as e:
        message = f"The body is not valid JSON: {e}."
        raise InvalidInput(message) from None
    except UnicodeDecodeError:
        message = "The body is not valid UTF-8."
        raise InvalidInput(message) from None
    except RecursionError:
        raise _too_deep() from None


class _NumberTooLarge(Exception):
    """A number that neither we nor JSON's other readers can hold."""


_object: Final = msgspec.json.Decoder(Sent).decode


def _too_deep() -> InvalidInput:
    message = "The body is nested too deeply."
    return InvalidInput(message)


def parameters(query: bytes) -> list[tuple[str, str]]:
    """The names and values in a query string."""
    try:
        return parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_PARAMETERS_MAX,
        )
    except ValueError:  # UnicodeDecodeError is one
        message = "The query string is not valid: percent-encode it as UTF-8, with at most 100 parameters."
        raise InvalidInput(message) from None


def given_twice(name: str) -> InvalidInput:
    """The refusal of a parameter that can have one value only."""
    return InvalidInput(f"The parameter `{name[:80]}` is given twice.", field=name[:80])


def places(request: type[msgspec.Struct]) -> dict[str, str]:
    """Which fields of a request stand outside of its body over HTTP: by wire name, `path`, `query` or the name of a header."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(request):
        kind = msgspec.inspect.type_info(field.type)
        extra: dict[str, str] = getattr(kind, "extra", None) or {}
        if "place" in extra:
            found[field.encode_name] = extra["place"]
    return found


def _takes(wanted: type[msgspec.inspect.Type], kind: msgspec.inspect.Type) -> bool:
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _takes(wanted, inner)
        case msgspec.inspect.UnionType(types=kinds):
            return any(_takes(wanted, inner) for inner in kinds)
        case _:
            return isinstance(kind, wanted)


_FORGIVEN: Final = ("got `float`", "got `null`")
"""In the complaints about which something can be done."""


def _without_idle_nulls(kind: msgspec.inspect.Type, sent: Any) -> Any:  # Any: JSON of any shape
    """The same without the nulls in fields that may be left out and have no null of their own."""
    match kind, sent:
        case msgspec.inspect.Metadata(type=inner), _:
            return _without_idle_nulls(inner, sent)
        case msgspec.inspect.UnionType(types=kinds), _:
            for inner in kinds:
                sent = _without_idle_nulls(inner, sent)
            return sent
        case msgspec.inspect.ListType(item_type=item), [*items]:
            return [_without_idle_nulls(item, inner) for inner in items]
        case msgspec.inspect.StructType(fields=fields), {**object_sent}:
            known = {field.encode_name: field for field in fields}
            return {
                name: _without_idle_nulls(known[name].type, value) if name in known else value
                for name, value in object_sent.items()
                if value is not None or name not in known or not null_is_idle(known[name])
            }
        case _:
            return sent


def null_is_idle(field: msgspec.inspect.Field) -> bool:
    """Whether null can mean nothing in this field but that it is left out."""
    takes_null = _takes(msgspec.inspect.NoneType, field.type) or _takes(msgspec.inspect.AnyType, field.type)
    return not field.required and not takes_null


def _whole_object(sent: dict[str, Any]) -> dict[str, Any]:  # Any: as above
    return {key: _whole(value) for key, value in sent.items()}


def _whole(value: Json) -> Json:
    """The same JSON with `3.0` as `3`."""
    match value:
        case dict():
            return {key: _whole(inner) for key, inner in value.items()}
        case list():
            return [_whole(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def refuse_nul(value: "Json | msgspec.Struct") -> None:
    """Raise InvalidInput where a request holds the one character that Postgres cannot store.

    Only what was understood is looked at: a key we do not know is ignored whatever it holds.
    """
    match value:
        case str() if "\0" in value:
            raise InvalidInput("Text must not contain the NUL character (U+0000): it cannot be stored.")
        case list():
            for inner in value:
                refuse_nul(inner)
        case dict():
            for key, inner in value.items():
                refuse_nul(key)
                refuse_nul(inner)
        case msgspec.Struct():
            for name in value.__struct_fields__:
                refuse_nul(getattr(value, name))
        case _:
            pass
