"""get-inbox: everything that waits for the caller, in one call.

An inbox is a list of sections. Each is one statement that reads a few rows off an index, and says how many more
there are. What is read must fit `maxBytes`; `_fitted` takes from the least important section first. To add a section,
add a field to Inbox and to LeftOut, a statement to sections.py, and its name to TRIM_ORDER.
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded
from app.errors import CursorExpired
from app.ids import uuid_or_none
from app.operations.inbox.sections import (
    CHANNEL_TASKS,
    CLAIMS,
    FOR_REVIEW,
    LOST,
    OPEN_TASKS,
    SEE,
    Section,
    changes,
    counted,
    mentions,
    refuse_expired,
    you,
)
from app.operations.inbox.shapes import Inbox, SectionName, You
from app.operations.inbox.waiting import woken_by
from app.operations.runs.claim import WAIT_SECONDS_MAX
from app.rpc import AgentRequest, Context, Step, given, operation

BYTES_DEFAULT: Final = 8_000  # some 2,000 tokens: what an agent reads before it starts
BYTES_MIN: Final = 1_000  # an empty inbox has some 400
BYTES_MAX: Final = 200_000  # more than an agent should read in one piece
SEEN_MAX: Final = 50  # in one call: a query string has room for them
SeenId = Annotated[str, Meta(pattern="^[0-9A-Za-z-]{1,64}$(?!\\n)")]


class GetInbox(AgentRequest):
    """How much to read, and since when."""

    max_bytes: Annotated[
        Annotated[int, Meta(ge=BYTES_MIN, le=BYTES_MAX)] | UnsetType,
        Meta(description="How many bytes at most: 8,000 by default. 1,000 to 200,000."),
    ] = UNSET
    cursor: Annotated[
        Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,17})$(?!\\n)")] | None | UnsetType,
        Meta(description="The `cursor` of your last inbox: lists what changed since."),
    ] = UNSET
    wait_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=WAIT_SECONDS_MAX)] | None | UnsetType,
        Meta(description="Seconds to wait until something comes, 30 at most. 0 by default."),
    ] = UNSET
    seen: Annotated[
        Annotated[list[SeenId], Meta(max_length=SEEN_MAX)] | None | UnsetType,
        Meta(
            description="Not to be shown again: the `id` of mentions, the `runId` of lost claims. What you do not name stays."
        ),
    ] = UNSET


TRIM_ORDER: Final[tuple[SectionName, ...]] = (
    "changes",
    "channelTasks",
    "forReview",
    "mentions",
    "lostClaims",
    "openTasks",
    "claims",
)
"""Where room is taken from, last item first: what can be read again or matters least goes first, what is yours last."""


@operation(
    scope="task-read",
    read_only=True,
    patience_seconds=WAIT_SECONDS_MAX,
    errors=(CursorExpired,),
    core=Step(10, "start here: what is yours, waits for you, changed."),
    cost=3,
)
async def get_inbox(ctx: Context, req: GetInbox) -> Encoded[Inbox]:
    """See what waits for you and what changed: the call to start with when you remember nothing.

    Your claims and tasks, mentions, reviews, what changed since `cursor`; without one who you are, and the open tasks of
    your channels.

    Claims that expire next come first. Lost claims and mentions stay until you act on them, or name them as `seen`. If it
    would be larger than `maxBytes`, room is taken from `changes` first, then from `channelTasks`, `forReview`, `mentions`,
    `lostClaims`, `openTasks` and `claims`, each from its end; `leftOut` says how many are missing. Changes that were left
    out come with the next cursor.

    With `waitSeconds` the call holds until something comes that you have not seen by your `cursor`: a task you can claim,
    unless you hold one; something that addresses you; a comment on a task you take part in; or a change of what is yours.
    `wokenBy` says which, and it costs no more than waiting to claim.
    """
    if (cursor := given(req.cursor)) is not None:
        await refuse_expired(ctx, cursor)
    if ids := [id for sent in given(req.seen) or () if (id := uuid_or_none(sent)) is not None]:
        await ctx.one(SEE, ids=ids)
    seconds = given(req.wait_seconds)
    if seconds is None:
        return await _inbox(ctx, req)
    waker = await woken_by(ctx, cursor, seconds)
    return (await _inbox(ctx, req)).plus({"wokenBy": waker})


async def _inbox(ctx: Context, req: GetInbox) -> Encoded[Inbox]:
    """The inbox as it is now."""
    may_read_channels = "channel-read" in ctx.actor.scopes
    cursor, none = given(req.cursor), Section([], 0)
    sections: dict[SectionName, Section] = {
        "claims": await counted(ctx, CLAIMS),
        "lostClaims": await counted(ctx, LOST),
        "openTasks": await counted(ctx, OPEN_TASKS),
        "mentions": await mentions(ctx) if may_read_channels else none,
        "forReview": await counted(ctx, FOR_REVIEW),
        "channelTasks": none if cursor is not None else await counted(ctx, CHANNEL_TASKS),
    }
    sections["changes"], cursors = await changes(ctx, cursor)
    not_allowed: list[SectionName] = [] if may_read_channels else ["mentions"]
    bytes_max = given(req.max_bytes) or BYTES_DEFAULT
    if cursor is not None:
        return _fitted(sections, cursors, not_allowed, bytes_max)
    who = msgspec.json.encode(await you(ctx, bytes_max // 4))
    return _fitted(sections, cursors, not_allowed, bytes_max - len(who) - len(',"you":')).plus(
        {"you": Encoded[You](who)}
    )


def _fitted(
    sections: dict[SectionName, Section], cursors: list[str], not_allowed: list[SectionName], bytes_max: int
) -> Encoded[Inbox]:
    """The inbox, with as much of each section as fits."""
    room = sum(len(item) + 1 for section in sections.values() for item in section.items)
    empty: dict[SectionName, Section] = {
        name: Section([], section.count) for name, section in sections.items()
    }
    room += len(_written(empty, [max(cursors, key=len)], not_allowed))  # with every number at its longest
    for name in TRIM_ORDER:
        items = sections[name].items
        while room > bytes_max and items:
            room -= len(items.pop()) + 1
    return Encoded(_written(sections, cursors, not_allowed))


def _written(
    sections: dict[SectionName, Section], cursors: list[str], not_allowed: list[SectionName]
) -> bytes:
    left_out = {name: section.count - len(section.items) for name, section in sections.items()}
    lists = b",".join(
        b'"%b":[%b]' % (name.encode(), b",".join(section.items)) for name, section in sections.items()
    )
    tail = {"cursor": cursors[len(sections["changes"].items)], "leftOut": left_out, "notAllowed": not_allowed}
    return b"{%b,%b" % (lists, msgspec.json.encode(tail)[1:])
