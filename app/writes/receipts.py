"""Retries that never repeat an effect.

A caller puts a key of its own choice on a call that changes something. The key is stored with the answer, in the
commit of the effect, so there is never one without the other: not after a crash, not across processes, not when
two of the same arrive at once. Whoever sends the same request with the same key again gets the first answer.

The statement that writes does it: `NOT_KEPT` stands before the effect, `KEPT` after it, and the item carries `keep`.
So a call with a key is one statement like any other, batched with others, and costs one more insert; `Keyed` makes the
form without that, for calls that have none. If it comes back without a row, `ctx.unless_answered()` asks whether it
had its effect before.

Two of the same at once take turns: whoever takes the key first (`take_key` in schema.sql) holds it to the commit, and the
second then finds that it is stored, or goes on if the first failed. So two of the same raise no error in the database,
whose log would keep it. The wait is bounded by the statement time-out. Within a process the second does not even leave
before the first is answered: see `only_ones` in db/batcher.py.

An answer without an effect (nothing to change, or a refusal) is stored by a statement of its own, once it is known.
A refusal of the input (400) and a failure of ours (5xx) are never stored: the same key may be used again.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from msgspec import UnsetType

from app.clock import timestamp
from app.db import Database, Duplicate, Encoded, One, Query
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
Q = TypeVar("Q", bound=Query[Any])  # Any: of whatever rows

CONSTRAINT: Final = "idempotency_keys_pkey"


class Keep(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is known of a keyed call before it runs: the part of a batch item that makes a statement store it."""

    key: str
    operation: str
    status: int  # of a success
    fingerprint: str  # SHA-256 of operation and body, in hexadecimal
    answered_at: str  # `meta.timestamp` of the first answer, so that a repetition can say the same
    scope: str | None = None  # what the API key needed


class KeptRow(msgspec.Struct):
    """A key with its answer."""

    operation: str
    scope: str | None
    fingerprint: str
    status: int
    error: str | None
    answer: Encoded[Any]  # Any: whatever the operation answered with
    merged_from: int | None
    version: int | None
    request_id: str
    answered_at: str


class Repeated(Exception):
    """The key was used before; what was answered then is in the table."""


# For statements that carry the key. `i` has `keep`, `workspace_id` and `actor_id`; `answered` is a CTE with a row per
# call that took effect: workspace_id, actor_id, request_id, keep, answer (json), merged_from.

# True, and from here to the commit get-request-outcome can tell that the call is under way, and others with its key wait.
UNDER_WAY: Final = """(
        i.keep IS NULL
        OR pg_advisory_xact_lock(
               hashtextextended(i.workspace_id || ' ' || i.actor_id || ' ' || (i.keep->>'key'), 0)) IS NOT NULL)"""

# Whether a call may take effect: it has no key, or one that is not stored. From here to the commit it is under way.
NOT_KEPT: Final = """(i.keep IS NULL OR take_key(i.workspace_id, i.actor_id, i.keep->>'key'))"""

_KEPT_COLUMNS: Final = """workspace_id, identity_id, key, operation, scope, fingerprint, status, answer, request_id,
                                      answered_at"""
_KEPT_VALUES: Final = """workspace_id, actor_id, keep->>'key', keep->>'operation', keep->>'scope',
               decode(keep->>'fingerprint', 'hex'), (keep->>'status')::int, answer, request_id, keep->>'answeredAt'"""

KEPT: Final = f"""
    kept AS (
        INSERT INTO idempotency_keys ({_KEPT_COLUMNS}, merged_from)
        SELECT {_KEPT_VALUES}, merged_from FROM answered WHERE keep IS NOT NULL
    )"""

# The same where the answer has an ETag: `answered` has `version` instead of `merged_from`.
KEPT_WITH_ETAG: Final = f"""
    kept AS (
        INSERT INTO idempotency_keys ({_KEPT_COLUMNS}, version)
        SELECT {_KEPT_VALUES}, version FROM answered WHERE keep IS NOT NULL
    )"""


class Keyed(Generic[Q]):
    """A statement in two forms: as it is written, with `KEPT`, and without, so that a call that has no key pays for none."""

    def __init__(self, statement: Q) -> None:
        self.keeping = statement
        self.plain = statement.without(f", {KEPT_WITH_ETAG if KEPT_WITH_ETAG in statement.sql else KEPT}")

    def form(self, keep: Keep | None) -> Q:
        """The one for a call with this key."""
        return self.plain if keep is None else self.keeping


_COLUMNS: Final = """
    operation, scope, encode(fingerprint, 'hex'), status, error, answer, merged_from, version, request_id, answered_at"""

FIND = Query(
    KeptRow,
    f"""
    SELECT {_COLUMNS}
      FROM idempotency_keys
     WHERE workspace_id = %(workspace_id)s::uuid AND identity_id = %(identity_id)s::uuid AND key = %(key)s::text
    """,
    pipelined=True,
)

KEEP = Query(
    KeptRow,
    f"""
    INSERT INTO idempotency_keys (workspace_id, identity_id, key, operation, scope, fingerprint, status, error, answer,
                                  version, request_id, answered_at)
    SELECT %(workspace_id)s::uuid, %(identity_id)s::uuid, %(key)s::text, %(operation)s::text, %(scope)s::text,
           decode(%(fingerprint)s::text, 'hex'), %(status)s::int, %(error)s::text, %(answer)s::text::json,
           %(version)s::int, %(request_id)s::text, %(answered_at)s::text
     WHERE take_key(%(workspace_id)s::uuid, %(identity_id)s::uuid, %(key)s::text)
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


def keep(
    key: str, operation: str, scope: str | None, status: int, sent: Sent, placed: Mapping[str, str]
) -> Keep:
    """What to store of a call. Two are the same if path, headers and body say the same, however the JSON is laid out."""
    values = {name: value for name, value in sent.items() if name != "idempotencyKey"}
    canonical = msgspec.json.encode([operation, values, placed], order="sorted")
    return Keep(
        key=key,
        operation=operation,
        status=status,
        fingerprint=hashlib.sha256(canonical).hexdigest(),
        answered_at=timestamp().decode(),
        scope=scope,
    )


async def find(db: Database, whose: Identity, key: str) -> KeptRow | None:
    """What is stored under a key."""
    return await db.one(FIND, **whose._asdict(), key=key)


async def is_under_way(db: Database, whose: Identity, key: str) -> bool:
    """Whether a call with this key is running, in any process."""
    row = await db.one(IS_FREE, **whose._asdict(), key=key)
    return row is not None and not row.value


async def store(
    db: Database,
    whose: Identity,
    kept: Keep,
    request_id: str,
    answer: object,
    *,
    error: ApiError | None = None,
    version: int | None = None,
) -> KeptRow | None:
    """Store an answer under its key, unless there is one already: then None."""
    return await db.one(
        KEEP,
        **whose._asdict(),
        key=kept.key,
        operation=kept.operation,
        scope=kept.scope,
        fingerprint=kept.fingerprint,
        status=kept.status if error is None else error.status,
        error=None if error is None else type(error).__name__,
        answer=_encode(answer).decode(),
        version=version,
        request_id=request_id,
        answered_at=kept.answered_at,
    )


def is_final(error: ApiError) -> bool:
    """Whether an error is an answer to keep: the call was understood, and refused for what it found."""
    return isinstance(error, PermissionDenied | NotFound | Conflict)


def is_duplicate(error: Duplicate) -> bool:
    """Whether a write was undone because its key is stored already."""
    return error.constraint == CONSTRAINT


def error_of(row: KeptRow, declared: tuple[type[ApiError], ...]) -> ApiError | None:
    """The error that was answered, as it was then; None if it was a success."""
    if row.error is None:
        return None
    kind = next((e for e in declared if e.__name__ == row.error), _ERRORS.get(row.status, Conflict))
    body = msgspec.json.decode(row.answer.raw, type=dict[str, msgspec.Raw])
    details = msgspec.json.decode(body["details"], type=dict[str, msgspec.Raw]) if "details" in body else None
    error = kind.__new__(kind)
    ApiError.__init__(error, msgspec.json.decode(body["message"], type=str), details)
    return error


def check_same(row: KeptRow, kept: Keep) -> None:
    """Refuse a key that was used for something else."""
    if row.fingerprint != kept.fingerprint:
        raise IdempotencyKeyReused(row.operation)
