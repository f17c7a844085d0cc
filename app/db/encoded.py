"""JSON that is already written, with the type of what it says."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Encoded(Generic[T]):
    """The JSON of a `T`, as Postgres wrote it: spliced into answers as it is, decoded only where someone must look inside."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def decode(self, to: type[T]) -> T:
        """Read it as the struct that documents it."""
        return msgspec.json.decode(self.raw, type=to)

    def only(self, fields: frozenset[str]) -> "Encoded[T]":
        """The same object with just these keys, in its own order."""
        whole = msgspec.json.decode(self.raw, type=dict[str, msgspec.Raw])
        return Encoded(msgspec.json.encode({key: value for key, value in whole.items() if key in fields}))

    def __repr__(self) -> str:
        return f"Encoded({self.raw!r})"


def as_json(value: object) -> msgspec.Raw:
    """`enc_hook` for msgspec: lets an `Encoded` stand anywhere inside a structure that is being encoded."""
    if isinstance(value, Encoded):
        return msgspec.Raw(value.raw)
    message = f"cannot encode {type(value).__name__}"
    raise NotImplementedError(message)
