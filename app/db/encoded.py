"""JSON that is already written, with the type of what it says."""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

_Object: TypeAlias = dict[str, msgspec.Raw]
_decoder: msgspec.json.Decoder[_Object | list[_Object]] = msgspec.json.Decoder(_Object | list[_Object])


class Encoded(Generic[T]):
    """The JSON of a `T`, as Postgres wrote it: spliced into answers as it is, decoded only where someone must look inside."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def decode(self, to: type[T]) -> T:
        """Read it as the struct that documents it."""
        return msgspec.json.decode(self.raw, type=to)

    def only(self, fields: frozenset[str]) -> "Encoded[T]":
        """The same object with just these keys, in its own order; or of an array, each of its objects."""
        whole = _decoder.decode(self.raw)
        kept = [_kept(item, fields) for item in whole] if isinstance(whole, list) else _kept(whole, fields)
        return Encoded(msgspec.json.encode(kept))

    def plus(self, more: Mapping[str, object]) -> "Encoded[T]":
        """The same object with more keys behind its own."""
        added = msgspec.json.encode(more, enc_hook=as_json)
        return (
            Encoded(b"%b,%b" % (self.raw[:-1], added[1:]))
            if more and len(self.raw) > len(b"{}")
            else Encoded(added)
        )

    def __repr__(self) -> str:
        return f"Encoded({self.raw!r})"


def array(items: Iterable[Encoded[T]]) -> Encoded[list[T]]:
    """A JSON array of these."""
    return Encoded(b"[%b]" % b",".join([item.raw for item in items]))


def _kept(whole: _Object, fields: frozenset[str]) -> _Object:
    return {key: value for key, value in whole.items() if key in fields}


def as_json(value: object) -> msgspec.Raw:
    """`enc_hook` for msgspec: lets an `Encoded` stand anywhere inside a structure that is being encoded."""
    if isinstance(value, Encoded):
        return msgspec.Raw(value.raw)
    message = f"cannot encode {type(value).__name__}"
    raise NotImplementedError(message)
