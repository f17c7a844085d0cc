"""How values travel to and from Postgres, the same on every kind of connection we keep."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg import adapters as default_adapters
from psycopg import pq
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader, PyFormat, Transformer
from psycopg.types.numeric import Int8Dumper

from app.db.encoded import Encoded

BYTEA_OID: Final = 17  # fixed in Postgres' catalogue


class _EncodedLoader(Loader):
    """`json` stays the bytes that Postgres wrote."""

    def load(self, data: Buffer) -> Encoded[object]:
        return Encoded(bytes(data))


class _DecodedLoader(Loader):
    """`jsonb` becomes plain Python values."""

    def load(self, data: Buffer) -> object:
        return msgspec.json.decode(data)


class _HexDumper(Dumper):
    """`bytes` as hexadecimal: the driver's own escaping depends on settings of a connection, which we dump without."""

    oid = BYTEA_OID

    def dump(self, obj: bytes) -> bytes:
        return b"\\x" + obj.hex().encode()


def adapt(adapters: AdaptersMap) -> None:
    """Set up one map of adapters."""
    # One parameter type for every int: psycopg keys prepared statements on text *and* parameter types.
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(bytes, _HexDumper)
    adapters.register_loader("json", _EncodedLoader)
    adapters.register_loader("jsonb", _DecodedLoader)


OURS: Final = AdaptersMap(default_adapters)
adapt(OURS)

_transformer: Final = Transformer.from_context(OURS)


def dump(values: Sequence[object]) -> Sequence[Buffer | None]:
    """Parameters in text form, for a statement that says by casts or context what each is."""
    return _transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))


def load(
    result: pq.abc.PGresult,
) -> Sequence[tuple[Any, ...]]:  # Any: the test over all queries checks the types
    """The rows of a result."""
    _transformer.set_pgresult(result)
    return _transformer.load_rows(0, result.ntuples, tuple)
