"""Retries that never repeat an effect.

A caller puts a key of its own choice on a call that changes something. The key is stored with the answer, in the
commit of the effect, so there is never one without the other: not after a crash, not across processes, not when
two of the same arrive at once. Whoever sends the same request with the same key again gets the first answer.

The statement that writes does it: an item of a keyed call carries its `receipt`. `UNUSED` stands before the effect,
`STORED` behind it, and app/writes/write.py puts both into the form of a statement that keyed calls get. So a call with
a key is one statement like any other, batched with others, and costs one more insert. If it comes back without a row,
`Context.write` asks whether it had its effect before.

Two of the same at once take turns: whoever takes the key first (`take_key` in schema.sql) holds it to the commit, and the
second then finds that it is stored, or goes on if the first failed. So two of the same raise no error in the database,
whose log would keep it. The wait is bounded by the statement time-out. Within a process the second does not even leave
before the first is answered: see `only_ones` in db/batcher.py.

An answer without an effect (nothing to change, or a refusal) is stored by a statement of its own, once it is known.
A refusal of the input (400) and a failure of ours (5xx) are never stored: the same key may be used again.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UnsetType

from app.clock import timestamp
from app.db import Command, Database, Duplicate, Encoded, One, Query
from app.db.encoded import as_json
from app.decoding import Sent
from app.errors import (
    ApiError,
    Conflict,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    PermissionDenied,
)

KEY_CHARACTERS_MAX: Final = 255
CONSTRAINT: Final = "idempotency_keys_pkey"


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a keyed call before it runs: the part of an item that makes a statement store it."""

    key: str
    operation: str
    status: int  # of a success
    fingerprint: str  # SHA-256 of operation and body, in hexadecimal
    answered_at: str  # `meta.timestamp` of the first answer, so that a repetition can say the same
    scope: str | None = None  # what the API key needed


class StoredRow(msgspec.Struct):
    """A key with its answer."""

    operation: str
    scope: str | None
    fingerprint: str
    status: int
    error: str | None
    answer: Encoded[Any]  # Any: whatever the operation answered with
    merged_from: int | None
    version: int | None
    told: Encoded[Any] | None  # Any: what was said beside it
    request_id: str
    answered_at: str


class Repeated(Exception):
    """The key was used before; what was answered then is in the table."""


# True, and from here to the commit get-request-outcome can tell that the call `i` is under way, and others with its key wait.
UNDER_WAY: Final = """
        pg_advisory_xact_lock(
            hashtextextended(i.workspace_id || ' ' || i.actor_id || ' ' || (i.receipt->>'key'), 0)) IS NOT NULL"""

# Whether the keyed call `i` has had no answer yet. From here to the commit it is under way.
UNUSED: Final = "take_key(i.workspace_id, i.actor_id, i.receipt->>'key', i.receipt->>'fingerprint')"

# Stores what was `answered`: ord, answer, merged_from, version, told. Whose it is stands in the item at this place.
# (OFFSET 0 has it taken out once, not wherever it is named.)
STORED: Final = """
    stored AS (
        INSERT INTO idempotency_keys (workspace_id, identity_id, key, operation, scope, fingerprint, status, answer,
                                      request_id, answered_at, merged_from, version, told)
        SELECT (e->>'workspace_id')::uuid, (e->>'actor_id')::uuid, k->>'key', k->>'operation', k->>'scope',
               decode(k->>'fingerprint', 'hex'), (k->>'status')::int, answer,
               e->>'request_id', k->>'answered_at', merged_from, version, told
          FROM answered
         CROSS JOIN LATERAL (SELECT (%(items)s::jsonb)->(answered.ord - 1)::int AS e OFFSET 0) item
         CROSS JOIN LATERAL (SELECT e->'receipt' AS k OFFSET 0) receipt
    )"""

_COLUMNS: Final = """
    operation, scope, encode(fingerprint, 'hex'), status, error, answer, merged_from, version, told, request_id,
    answered_at"""

FIND = Query(
    StoredRow,
    f"""
    SELECT {_COLUMNS}
      FROM idempotency_keys
     WHERE workspace_id = %(workspace_id)s::uuid AND identity_id = %(identity_id)s::uuid AND key = %(key)s::text
    """,
    pipelined=True,
)

STORE = Command(
    StoredRow,
    f"""
    INSERT INTO idempotency_keys (workspace_id, identity_id, key, operation, scope, fingerprint, status, error, answer,
                                  version, told, request_id, answered_at)
    SELECT %(workspace_id)s::uuid, %(identity_id)s::uuid, %(key)s::text, %(operation)s::text, %(scope)s::text,
           decode(%(fingerprint)s::text, 'hex'), %(status)s::int, %(error)s::text, %(answer)s::text::json,
           %(version)s::int, %(told)s::text::json, %(request_id)s::text, %(answered_at)s::text
     WHERE take_key(%(workspace_id)s::uuid, %(identity_id)s::uuid, %(key)s::text, %(fingerprint)s::text)
    RETURNING {_COLUMNS}
    """,
)

# Whether nobody holds the lock of UNDER_WAY. If so it is held for no longer than this statement takes.
IS_FREE = Query(
    One[bool],
    """
    SELECT pg_try_advisory_xact_lock(
               hashtextextended(%(workspace_id)s::text || ' ' || %(identity_id)s::text || ' ' || %(key)s::text, 0))
    """,
)

_encode: Final = msgspec.json.Encoder(enc_hook=as_json).encode
_ERRORS: Final[dict[int, type[ApiError]]] = {403: PermissionDenied, 404: NotFound, 409: Conflict}


class Identity(NamedTuple):
    """Whose key it is."""

    workspace_id: UUID
    identity_id: UUID


def key_of(header: str | None, field: str | None | UnsetType) -> str | None:
    """The key a call came with, in its header or its body; None if it has none. The header wins."""
    if header is None:
        return field or None
    key = (
        header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header
    )  # the draft standard quotes it
    if not (1 <= len(key) <= KEY_CHARACTERS_MAX and key.isascii() and key.isprintable()):
        message = (
            f"The header `Idempotency-Key` must have 1 to {KEY_CHARACTERS_MAX} printable ASCII characters."
        )
        raise InvalidInput(message, field="Idempotency-Key")
    return key


def receipt_of(
    key: str, operation: str, scope: str | None, status: int, sent: Sent, placed: Mapping[str, str]
) -> Receipt:
    """What to store of a call. Two are the same if path, headers and body say the same, however the JSON is laid out."""
    values = {name: value for name, value in sent.items() if name != "idempotencyKey"}
    canonical = msgspec.json.encode([operation, values, placed], order="sorted")
    return Receipt(
        key=key,
        operation=operation,
        status=status,
        fingerprint=hashlib.sha256(canonical).hexdigest(),
        answered_at=timestamp().decode(),
        scope=scope,
    )


async def find(db: Database, whose: Identity, key: str) -> StoredRow | None:
    """What is stored under a key."""
    return await db.one(FIND, **whose._asdict(), key=key)


async def is_under_way(db: Database, whose: Identity, key: str) -> bool:
    """Whether a call with this key is running, in any process."""
    row = await db.one(IS_FREE, **whose._asdict(), key=key)
    return row is not None and not row.value


async def store(
    db: Database,
    whose: Identity,
    receipt: Receipt,
    request_id: str,
    answer: object,
    *,
    error: ApiError | None = None,
    version: int | None = None,
    told: Encoded[Any] | None = None,  # Any: see StoredRow
) -> StoredRow | None:
    """Store an answer under its key, unless there is one already: then None."""
    return await db.one(
        STORE,
        **whose._asdict(),
        key=receipt.key,
        operation=receipt.operation,
        scope=receipt.scope,
        fingerprint=receipt.fingerprint,
        status=receipt.status if error is None else error.status,
        error=None if error is None else type(error).__name__,
        answer=_encode(answer).decode(),
        version=version,
        told=None if told is None else told.raw.decode(),
        request_id=request_id,
        answered_at=receipt.answered_at,
    )


def is_final(error: ApiError) -> bool:
    """Whether an error is an answer to keep: the call was understood, and refused for what it found."""
    return isinstance(error, PermissionDenied | NotFound | Conflict)


def is_duplicate(error: Duplicate) -> bool:
    """Whether a write was undone because its key is stored already."""
    return error.constraint == CONSTRAINT


def error_of(row: StoredRow, declared: tuple[type[ApiError], ...]) -> ApiError | None:
    """The error that was answered, as it was then; None if it was a success."""
    if row.error is None:
        return None
    kind = next((e for e in declared if e.__name__ == row.error), _ERRORS.get(row.status, Conflict))
    body = msgspec.json.decode(row.answer.raw, type=dict[str, msgspec.Raw])
    details = msgspec.json.decode(body["details"], type=dict[str, msgspec.Raw]) if "details" in body else None
    error = kind.__new__(kind)
    ApiError.__init__(error, msgspec.json.decode(body["message"], type=str), details)
    return error


def says_of(row: StoredRow, receipt: Receipt) -> bool:
    """Whether what is stored speaks of this call: not if it is the refusal of another request, which gives way to it."""
    return row.error is None or row.fingerprint == receipt.fingerprint


def check_same(row: StoredRow, receipt: Receipt) -> None:
    """Refuse a key that was used for something else."""
    if row.fingerprint != receipt.fingerprint:
        raise IdempotencyKeyReused(row.operation)
