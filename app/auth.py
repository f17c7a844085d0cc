"""From an API key to the identity behind it.

A key is looked up once, and its owner then remembered by its SHA-256. Revocation must bite within a second in every
process, so each process asks the database twice a second which keys were revoked lately: polling works behind
any connection pooler, where LISTEN does not. A process that has not heard for too long trusts nothing it
remembers and looks every key up again. A key has 256 random bits, so guessing is hopeless; what trying costs us is bounded
all the same.

How much a key may ask for is read with it, so a change of that is asked for as well.

A call that waits has shown its key once, long ago. So as long as it waits it has a `Stay`: each poll asks about its key
too, and ends the call when that was revoked, has expired or lost the scope; and before it takes anything, it asks anew.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar
from uuid import UUID

import msgspec

from app.db import Command, Database, One, Query
from app.errors import ApiError, KeyExpired, KeyInvalid, KeyMissing, KeyRevoked, ScopeMissing, Unauthenticated
from app.rpc import UNLIMITED, Actor, Allowance, Bucket, Limits, Rate
from app.types import IdentityKind

T = TypeVar("T")

KEY_PREFIX: Final = "baton_sk_"
KEY_RANDOM_BYTES: Final = 32  # 256 bits
KEY_VISIBLE_CHARACTERS: Final = len(KEY_PREFIX) + 8  # what people may see of a key to tell it from others

POLL_INTERVAL_SECONDS: Final = 0.4  # with a round trip and a late wake-up still well inside one second
TRUST_SECONDS: Final = 0.9  # since the last good poll; after that remembered keys are looked up again
REFUSED_WITHIN_SECONDS: Final = 1.0  # after its revocation every process refuses a key
LOOK_BACK_SECONDS: Final = 30  # a poll sees revocations this old, so one that commits late is not missed
REMEMBERED_KEYS_MAX: Final = 10_000  # about 10 MB; more active keys than one process can serve
REFUSED_REMEMBERED_SECONDS: Final = 2.0  # so who tries the same bad key all the time costs no look-up
WRONG_KEYS: Final = Rate(per_second=20, burst=200)  # that are looked up; of more the answers are late,
WRONG_KEY_PAUSE_SECONDS: Final = 0.5  # so that who tries keys is bounded by their connections
LAST_USED_INTERVAL_SECONDS: Final = 60.0

_PREFIX: Final = KEY_PREFIX.encode()

log = logging.getLogger("baton.auth")


class KeyRow(msgspec.Struct):
    """An API key and its identity, as stored."""

    workspace_id: UUID
    key_id: UUID
    identity_id: UUID
    kind: IdentityKind
    handle: str
    scopes: list[str]
    revoked: bool
    seconds_left: float | None  # None: it never expires; zero or less: it has
    prefix: str
    calls_per_second: float | None  # None: as many as the settings say
    calls_burst: int | None


class StayRow(msgspec.Struct):
    """The key of a call that waits, as it is now."""

    key_id: UUID
    scopes: list[str]
    revoked: bool
    expired: bool


FIND_KEY = Query(
    KeyRow,
    """
    SELECT k.workspace_id, k.id, i.id, i.kind, i.handle, k.scopes,
           k.revoked_at IS NOT NULL,
           extract(epoch FROM k.expires_at - now())::float8, k.prefix, k.calls_per_second, k.calls_burst
      FROM api_keys k
      JOIN identities i ON i.workspace_id = k.workspace_id AND i.id = k.identity_id
     WHERE k.hash = %(hash)s::bytea
    """,
    pipelined=True,
    everywhere=True,
)

CHANGED_LATELY = Query(
    One[bytes],
    """
    SELECT hash FROM api_keys WHERE revoked_at > now() - make_interval(secs => %(seconds)s::float8)
     UNION ALL
    SELECT hash FROM api_keys WHERE limited_at > now() - make_interval(secs => %(seconds)s::float8)
    """,
    everywhere=True,
    pipelined=True,  # on a connection that no slow call holds: who hears nothing for too long trusts no key
)

KEYS_NOW = Query(
    StayRow,
    """
    SELECT k.id, k.scopes, k.revoked_at IS NOT NULL, coalesce(k.expires_at <= now(), false)
      FROM (SELECT e->>'workspaceId' AS workspace_id, e->>'keyId' AS key_id
              FROM jsonb_array_elements(%(keys)s::jsonb) AS e) w
      JOIN api_keys k ON k.workspace_id = w.workspace_id::uuid AND k.id = w.key_id::uuid
    """,
    pipelined=True,
    everywhere=True,
)

# Every process may report the same key; the condition makes it one write a minute all the same.
MARK_USED = Command(
    One[int],
    """
    WITH marked AS (
        UPDATE api_keys k
           SET last_used_at = now()
          FROM (SELECT e->>'workspaceId' AS workspace_id, e->>'keyId' AS key_id
                  FROM jsonb_array_elements(%(used)s::jsonb) AS e) u
         WHERE k.workspace_id = u.workspace_id::uuid AND k.id = u.key_id::uuid
           AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '59 seconds')
        RETURNING 1
    )
    SELECT count(*) FROM marked
    """,
    everywhere=True,
)


def new_key() -> str:
    """A fresh API key. It is shown once and stored nowhere."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_RANDOM_BYTES)


def hash_of(key: str) -> bytes:
    """What is stored of a key. It has 256 random bits, so a plain hash is as good as a slow one."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class _Remembered(msgspec.Struct, frozen=True):
    actor: Actor
    until: float  # time.monotonic() at which the key expires


class _Refused(NamedTuple):
    why: Callable[[], Unauthenticated]
    until: float  # by time.monotonic()


class Stay:
    """A call that waits, for as long as its key allows: a context manager."""

    def __init__(self, keys: "Keys", actor: Actor, scope: str | None) -> None:
        self.actor = actor
        self.scope = scope
        self._keys = keys
        self._ended: asyncio.Future[ApiError] = asyncio.get_running_loop().create_future()
        self._waits = False

    def __enter__(self) -> Self:
        self._keys.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._keys.discard(self)
        if self._waits and self._keys.limits.waits is not None:
            self._keys.limits.waits.leave(self.actor.key_id)

    def wait(self) -> None:
        """Count the call among those that wait, until it ends. Raises WaitsLimited if too many do."""
        if not self._waits and self._keys.limits.waits is not None:
            self._keys.limits.waits.enter(self.actor.key_id)
            self._waits = True

    async def check(self) -> None:
        """Raise if the key is no longer good, as the database has it now."""
        await self._keys.ask_anew()
        if self._ended.done():
            raise self._ended.result()

    def end(self, why: ApiError) -> None:
        """End what waits."""
        if not self._ended.done():
            self._ended.set_result(why)

    async def accompany(self, work: Coroutine[Any, Any, T]) -> T:  # Any: what passes between it and the loop
        """What comes of the work, unless the key ends first: then the work is cancelled and says no more."""
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait({working, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise self._ended.result()
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait({working})


class Keys:
    """The keys this process has seen, and the door they open."""

    def __init__(self, db: Database, limits: Limits | None = None) -> None:
        self.limits = Limits() if limits is None else limits
        self._db = db
        self._remembered: dict[bytes, _Remembered] = {}
        self._refused: dict[bytes, _Refused] = {}
        self._wrong = Allowance(Bucket(WRONG_KEYS), Bucket(UNLIMITED))
        self._heard_at = 0.0  # when the last good poll began
        self._used: dict[bytes, Actor] = {}  # by the hash of their key, since that was last written down
        self._stays: set[Stay] = set()
        self._asking: asyncio.Task[None] | None = None  # a look at the keys of all stays, under way
        self._next: asyncio.Task[None] | None = None  # the one after it, for whoever came too late for that

    async def actor(self, authorization: bytes | None) -> Actor:
        """Who sent this `Authorization` header; an Unauthenticated error says why nobody did."""
        if (
            authorization is None
            or authorization[:7].lower() != b"bearer "
            or not (key := authorization[7:].strip())
        ):
            raise KeyMissing
        digest = hashlib.sha256(key).digest()
        now = time.monotonic()
        known = self._remembered.get(digest)
        if known is None and (refused := self._refused.get(digest)) is not None and now < refused.until:
            raise refused.why()
        if known is None or now >= known.until or now - self._heard_at > TRUST_SECONDS:
            known = await self._look_up(key, digest, now)
        self._used[digest] = known.actor
        return known.actor

    def stay(self, actor: Actor, scope: str | None) -> Stay:
        """Watch over a call that waits, and needs this scope."""
        return Stay(self, actor, scope)

    @property
    def staying(self) -> int:
        """How many calls wait."""
        return len(self._stays)

    def add(self, stay: Stay) -> None:
        """Ask about the key of a call with every poll."""
        self._stays.add(stay)

    def discard(self, stay: Stay) -> None:
        """The call has ended."""
        self._stays.discard(stay)

    async def ask_anew(self) -> None:
        """End the stays whose keys are no longer good. All who wake at once share one look, begun after they asked."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asking))
        await asyncio.shield(self._next)

    async def _ask_after(self, before: "asyncio.Task[None] | None") -> None:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._asking, self._next = self._next, None
        await self._ask()

    async def _ask(self) -> None:
        stays = list(self._stays)
        keys = {stay.actor.key_id: stay.actor.workspace_id for stay in stays}
        items = [{"workspaceId": workspace_id, "keyId": key_id} for key_id, workspace_id in keys.items()]
        rows = await self._db.all(KEYS_NOW, keys=msgspec.json.encode(items).decode())
        now = {row.key_id: row for row in rows}
        for stay in stays:
            if (why := _ended(now.get(stay.actor.key_id), stay.scope)) is not None:
                stay.end(why)

    async def watch(self) -> None:
        """Poll for revocations, and now and then write down which keys were used. Runs until cancelled."""
        written_at = time.monotonic()
        while True:
            began = time.monotonic()
            try:
                for row in await self._db.all(CHANGED_LATELY, seconds=float(LOOK_BACK_SECONDS)):
                    self._remembered.pop(row.value, None)
                self._heard_at = began
                if self._stays:
                    await self._ask()
                if began - written_at > LAST_USED_INTERVAL_SECONDS:
                    written_at = began
                    await self.write_used()
            except ApiError as e:
                log.warning("cannot ask for revoked keys: %s", e.message)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def write_used(self) -> None:
        """Write down the keys used since the last time."""
        used, self._used = self._used, {}
        if used:
            actors = sorted(used.values(), key=lambda actor: actor.key_id)
            items = [{"workspaceId": actor.workspace_id, "keyId": actor.key_id} for actor in actors]
            await self._db.one(MARK_USED, used=msgspec.json.encode(items).decode())

    async def _look_up(self, key: bytes, digest: bytes, now: float) -> _Remembered:
        if not key.startswith(_PREFIX):
            raise KeyInvalid  # nobody was ever given such a key
        row = await self._db.one(FIND_KEY, hash=digest)
        self._remembered.pop(digest, None)
        if row is None:
            raise await self._refuse(digest, KeyInvalid)
        if row.revoked:
            raise await self._refuse(digest, KeyRevoked)
        if row.seconds_left is not None and row.seconds_left <= 0:
            raise await self._refuse(digest, KeyExpired)
        own = None if row.calls_per_second is None else Rate(row.calls_per_second, row.calls_burst or 1)
        actor = Actor(
            row.workspace_id,
            row.identity_id,
            row.kind,
            row.handle,
            frozenset(row.scopes),
            row.key_id,
            row.prefix,
            self.limits.allowance(row.workspace_id, row.key_id, own),
        )
        known = _Remembered(actor, now + (row.seconds_left if row.seconds_left is not None else float("inf")))
        if len(self._remembered) >= REMEMBERED_KEYS_MAX:
            self._remembered.clear()  # rare, and costs each key one look-up
        self._remembered[digest] = known
        return known

    async def _refuse(self, digest: bytes, why: Callable[[], Unauthenticated]) -> Unauthenticated:
        """Remember for a moment that a key is no good; where many are tried, answer late."""
        now = time.monotonic()
        if len(self._refused) >= REMEMBERED_KEYS_MAX:
            self._refused.clear()
        self._refused[digest] = _Refused(why, now + REFUSED_REMEMBERED_SECONDS)
        if self._wrong.refusal(1) is not None:
            await asyncio.sleep(WRONG_KEY_PAUSE_SECONDS)
        return why()


def _ended(key: StayRow | None, scope: str | None) -> ApiError | None:
    """Why a call with this key may wait no longer; None if it may."""
    if key is None:
        return KeyInvalid()
    if key.revoked:
        return KeyRevoked()
    if key.expired:
        return KeyExpired()
    return ScopeMissing(scope) if scope is not None and scope not in key.scopes else None
