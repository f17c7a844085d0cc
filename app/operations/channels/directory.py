"""Which channels there are, and who is in them: get-channels, get-channel-members and their likes."""

from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, Listed, One, Query
from app.db.phrases import moment
from app.errors import ChannelNotFound, ChannelNotMember, MemberNotFound
from app.ids import FIRST_ID, uuid_or_none
from app.operations.channels.channel import CHANNEL_JSON, HALVING, Channel, ChannelKind, Role, readable
from app.rpc import AgentRequest, Answer, Context, Excerpt, Page, given, operation
from app.types import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Id, PageCursor, PageLimit, Timestamp

CHANNELS_MAX: Final = 1000  # in one list, which has no pages in the contract; about 150 kB
MANIFEST_MEMBERS_MAX: Final = 1000  # the same; get-channel-members pages through all


class ChannelMemberHuman(Answer, tag_field="type", tag="human"):
    """A human in a channel."""

    id: Annotated[str, Meta(description="The id.")]
    name: Annotated[str, Meta(description="What to call them.")]
    handle: Annotated[str, Meta(description="Address them as `@handle`.")]


class ChannelMemberAgent(Answer, tag_field="type", tag="agent"):
    """An agent in a channel."""

    id: Annotated[str, Meta(description="The id.")]
    name: Annotated[str, Meta(description="What to call it.")]
    handle: Annotated[str, Meta(description="Address it as `@handle`.")]
    agent_type: Annotated[str, Meta(description="local, cloud, team, or a word of its operator's own.")]


class ChannelMembersPage(Answer):
    """Some members of a channel."""

    members: Annotated[list[ChannelMemberHuman | ChannelMemberAgent], Meta(description="The members, by id.")]
    has_more: Annotated[bool, Meta(description="Whether there are more.")]
    cursor: Annotated[
        str | None, Meta(description="Send it as `after` to get the next page; null on the last one.")
    ]


class ChannelManifestMember(Answer):
    """A member of a channel, in short."""

    member_id: Annotated[str, Meta(description="The user or agent.")]
    member_type: Annotated[Literal["human", "agent"], Meta(description="Which of the two.")]
    joined_at: Annotated[Timestamp, Meta(description="Since when.")]


class ChannelManifest(Answer):
    """A channel at a glance."""

    id: Annotated[str, Meta(description="Its id.")]
    name: Annotated[str, Meta(description="Its name, without `#`.")]
    purpose: Annotated[str | None, Meta(description="What it is for, in one line.")]
    type: Annotated[ChannelKind, Meta(description="Who finds it: everyone, or only its members.")]
    domain: Annotated[str | None, Meta(description="Always null here.")]
    iris_enabled: Annotated[bool, Meta(description="Always false here: no assistant is built in.")]
    members: Annotated[
        list[ChannelManifestMember], Meta(description="Who is in it, in order of joining; at most 1,000.")
    ]
    recent_message_count: Annotated[int, Meta(description="How many messages the last 24 hours brought.")]


class Membership(Answer):
    """A member of a channel, and what they may do there."""

    news: ClassVar[tuple[str, ...]] = ("handle", "role")

    member_id: Annotated[str, Meta(description="The user or agent.")]
    member_type: Annotated[Literal["human", "agent"], Meta(description="Which of the two.")]
    handle: Annotated[str, Meta(description="Address them as `@handle`.")]
    name: Annotated[str, Meta(description="What to call them.")]
    role: Annotated[Role, Meta(description="A reader reads, a poster also writes, an admin also manages.")]
    joined_at: Annotated[Timestamp, Meta(description="Since when.")]


MY_CHANNELS = Query(
    One[Encoded[Channel]],
    f"""
    SELECT {CHANNEL_JSON}
      FROM channels c
      LEFT JOIN channel_members m
        ON m.workspace_id = c.workspace_id AND m.channel_id = c.id AND m.identity_id = %(actor_id)s::uuid
     WHERE c.workspace_id = %(workspace_id)s::uuid
       AND (m.role IS NOT NULL OR (c.kind = 'public' AND %(joinable)s::boolean))
       AND (c.archived_at IS NULL OR %(archived)s::boolean)
     ORDER BY c.name
     LIMIT %(limit)s::int
    """,
    pipelined=True,
)

_MEMBER_OF: Final = """
      FROM channel_members me
      JOIN channel_members m ON m.workspace_id = me.workspace_id AND m.channel_id = me.channel_id
      JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
     WHERE me.workspace_id = %(workspace_id)s::uuid AND me.channel_id = %(channel_id)s::uuid
       AND me.identity_id = %(actor_id)s::uuid AND m.identity_id > %(after)s::uuid AND a.deactivated_at IS NULL
     ORDER BY m.identity_id
     LIMIT %(limit)s::int"""

MEMBERS = Query(
    Listed[ChannelMemberHuman | ChannelMemberAgent],
    f"""
    SELECT CASE a.kind
           WHEN 'user' THEN row_to_json((SELECT w FROM (SELECT 'human' AS type, a.id, a.name, a.handle) w))
           ELSE row_to_json((SELECT w FROM (SELECT 'agent' AS type, a.id, a.name, a.handle, a.agent_type AS "agentType") w)) END,
           a.id::text
    {_MEMBER_OF}
    """,
    pipelined=True,
)

# The membership `m` of `a` as it goes out.
MEMBERSHIP_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        a.id AS "memberId", CASE a.kind WHEN 'user' THEN 'human' ELSE 'agent' END AS "memberType", a.handle, a.name,
        m.role, {moment("m.joined_at")} AS "joinedAt") w))"""

MEMBERSHIPS = Query(
    Listed[Membership],
    f"""
    SELECT {MEMBERSHIP_JSON}, a.id::text
    {_MEMBER_OF}
    """,
    pipelined=True,
)

MANIFEST = Query(
    One[Encoded[ChannelManifest]],
    f"""
    WITH RECURSIVE found AS (
        SELECT c.*, now() - interval '24 hours' AS moment
          FROM channel_members me
          JOIN channels c ON c.workspace_id = me.workspace_id AND c.id = me.channel_id
         WHERE me.workspace_id = %(workspace_id)s::uuid AND me.channel_id = %(channel_id)s::uuid
           AND me.identity_id = %(actor_id)s::uuid
    ), {HALVING}
    SELECT row_to_json((SELECT w FROM (SELECT
               f.id, f.name, f.purpose, f.kind AS type, NULL AS domain, false AS "irisEnabled",
               (SELECT coalesce(array_to_json(array_agg(l.member)), '[]')
                  FROM (SELECT row_to_json((SELECT w FROM (SELECT
                                   m.identity_id AS "memberId",
                                   CASE a.kind WHEN 'user' THEN 'human' ELSE 'agent' END AS "memberType",
                                   {moment("m.joined_at")} AS "joinedAt") w)) AS member
                          FROM channel_members m
                          JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
                         WHERE m.workspace_id = f.workspace_id AND m.channel_id = f.id AND a.deactivated_at IS NULL
                         ORDER BY m.joined_at, m.identity_id
                         LIMIT %(limit)s::int) l) AS members,
               f.last_position - older.messages AS "recentMessageCount") w))
      FROM found f CROSS JOIN older
    """,
    pipelined=True,
)


class GetChannels(AgentRequest):
    """Which channels."""

    include_public: Annotated[
        bool, Meta(description="Also public channels that you are not in. Enter one with join-channel.")
    ] = False
    include_archived: Annotated[bool, Meta(description="Also archived channels, which can only be read.")] = (
        False
    )


class GetChannelMembers(AgentRequest):
    """Which members."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    limit: PageLimit = UNSET
    after: Annotated[
        Id | None | UnsetType,
        Meta(description="Only members after this one: the `cursor` of the page before."),
    ] = UNSET


class GetChannelManifest(AgentRequest):
    """Which channel."""

    channel_id: Annotated[Id, Meta(description="The channel.")]


class ListChannelMembers(AgentRequest):
    """Which members."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    limit: PageLimit = UNSET
    cursor: PageCursor = UNSET


@operation(scope="channel-read", read_only=True)
async def get_channels(ctx: Context, req: GetChannels) -> Encoded[list[Channel]]:
    """List the channels you are a member of, by name.

    You must join a channel before you can read or write in it.
    """
    rows = await ctx.all(
        MY_CHANNELS,
        joinable=req.include_public,
        archived=req.include_archived,
        limit=CHANNELS_MAX,
    )
    return Encoded(b"[%b]" % b",".join([row.value.raw for row in rows]))


@operation(scope="channel-read", read_only=True, errors=(ChannelNotFound, ChannelNotMember, MemberNotFound))
async def get_channel_members(ctx: Context, req: GetChannelMembers) -> Excerpt[ChannelMembersPage]:
    """List whom you can address in a channel as `@handle`: its members by name; their roles say list-channel-members.

    Page with `after`.
    """
    channel = await readable(ctx, req.channel_id)
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    after = given(req.after)
    if (last := uuid_or_none(after) if after else FIRST_ID) is None:
        raise MemberNotFound(str(after), field="after")
    rows = await ctx.all(
        MEMBERS,
        channel_id=channel.id,
        after=last,
        limit=limit + 1,
    )
    page = rows[:limit]
    cursor = page[-1].cursor if len(rows) > limit else None
    data = b'{"members":[%b],"hasMore":%b,"cursor":%b}' % (
        b",".join([row.item.raw for row in page]),
        b"true" if cursor else b"false",
        msgspec.json.encode(cursor),
    )
    return Excerpt(Encoded(data), cursor is not None, cursor, None)


@operation(scope="channel-read", read_only=True, errors=(ChannelNotFound, ChannelNotMember))
async def get_channel_manifest(ctx: Context, req: GetChannelManifest) -> Encoded[ChannelManifest]:
    """See a channel at a glance: what it is for, who is in it, and how busy it is."""
    channel = await readable(ctx, req.channel_id)
    row = await ctx.one(
        MANIFEST,
        channel_id=channel.id,
        limit=MANIFEST_MEMBERS_MAX,
    )
    if row is None:  # removed from it between the two statements
        raise ChannelNotMember(str(channel.id))
    return row.value


@operation(scope="channel-read", read_only=True, errors=(ChannelNotFound, ChannelNotMember))
async def list_channel_members(ctx: Context, req: ListChannelMembers) -> Page[Membership]:
    """List what each member of a channel may do there: their roles; only names and kinds say get-channel-members.

    Page with `cursor`.
    """
    channel = await readable(ctx, req.channel_id)
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    rows = await ctx.all(
        MEMBERSHIPS,
        channel_id=channel.id,
        after=given(req.cursor) or FIRST_ID,
        limit=limit + 1,
    )
    return Page[Membership].cut(rows, limit)
