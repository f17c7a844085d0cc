"""Every way to fail, in one place.

    ApiError                    a normal answer that says no; one info line in the log
    ├── InvalidInput            400  invalid_input
    ├── Unauthenticated         401
    │   ├── KeyMissing               AUTH_MISSING
    │   ├── KeyInvalid               AUTH_INVALID_API_KEY
    │   ├── KeyExpired               AUTH_API_KEY_EXPIRED
    │   └── KeyRevoked               AUTH_API_KEY_REVOKED
    ├── PermissionDenied        403  permission_denied
    │   ├── UnknownHost
    │   ├── ScopeMissing
    │   ├── TaskReadOnly
    │   ├── NotYoursToShow
    │   ├── BlockerHidden
    │   ├── NotAssignee
    │   ├── NotHolder
    │   ├── ChannelNotMember         channel_not_member
    │   ├── ChannelNotAdmin
    │   └── MemberRemoved
    ├── NotFound                404  not_found
    │   ├── UnknownPath
    │   ├── TaskNotFound
    │   ├── VersionNotFound
    │   ├── IdentityNotFound
    │   │   └── IdentityDeactivated
    │   ├── ChannelNotFound
    │   ├── MemberNotFound
    │   ├── MessageNotFound
    │   ├── AttachmentNotFound
    │   ├── RunNotFound
    │   └── StateNotFound
    ├── Conflict                409  conflict
    │   ├── VersionConflict
    │   ├── CursorExpired
    │   ├── NotAssigned
    │   ├── ParentCycle
    │   ├── IdempotencyKeyReused
    │   ├── ChannelArchived
    │   ├── SoleMember
    │   ├── LastAdmin
    │   ├── RelationCycle
    │   ├── LeaseLost
    │   ├── NotClaimable
    │   ├── RunClaimed
    │   ├── RunEnded
    │   ├── LogFull
    │   ├── TooManyParts
    │   ├── EtagMismatch
    │   └── AlreadyExists
    ├── MethodNotAllowed        405  method_not_allowed
    ├── UnknownEncoding         415  unknown_encoding
    ├── Unframed
    │   ├── TooSlow             408  too_slow
    │   ├── UrlTooLong          414  url_too_long
    │   ├── HeadTooLarge        431  head_too_large
    │   ├── UnknownCoding       501  unknown_coding
    │   └── UnknownVersion      505  unknown_version
    ├── RateLimited             429  rate_limited
    │   ├── CallsLimited
    │   └── WaitsLimited
    ├── InternalError           500  internal_error
    └── Unavailable             503  upstream_unavailable
        ├── DatabaseUnavailable
        ├── StorageFull
        ├── TimedOut
        ├── CallerGone
        ├── Overloaded
        ├── Contended
        └── NotReady                 only at /readyz

Anything else that is raised is a bug: it is logged whole, and the caller sees `internal_error` and the
request id. Messages are read by agents, so each says what to do next. `code` is the spelling of the agent
family; other families translate it. The published client can read eight statuses (contract 0.1). The others
are for what no published client can send: a wrong verb, a body in a coding, a request that is not quite HTTP.
"""

from app.errors.callers import (
    BlockerHidden,
    ChannelNotAdmin,
    ChannelNotMember,
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    MemberRemoved,
    NotAssignee,
    NotHolder,
    NotYoursToShow,
    ScopeMissing,
    TaskReadOnly,
    UnknownHost,
)
from app.errors.conflicts import (
    AlreadyExists,
    ChannelArchived,
    CursorExpired,
    EtagMismatch,
    IdempotencyKeyReused,
    LastAdmin,
    LeaseLost,
    LogFull,
    NotAssigned,
    NotClaimable,
    ParentCycle,
    RelationCycle,
    RunClaimed,
    RunEnded,
    SoleMember,
    TooManyParts,
    VersionConflict,
)
from app.errors.exchanges import HeadTooLarge, TooSlow, UnknownCoding, UnknownVersion, UrlTooLong
from app.errors.kinds import (
    ApiError,
    Conflict,
    First,
    InternalError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    RateLimited,
    Unauthenticated,
    Unavailable,
    Unframed,
    UnknownEncoding,
    Way,
)
from app.errors.limits import CallsLimited, WaitsLimited
from app.errors.missing import (
    AttachmentNotFound,
    ChannelNotFound,
    IdentityDeactivated,
    IdentityNotFound,
    MemberNotFound,
    MessageNotFound,
    RunNotFound,
    StateNotFound,
    TaskNotFound,
    UnknownPath,
    VersionNotFound,
)
from app.errors.outages import (
    CallerGone,
    Contended,
    DatabaseUnavailable,
    NotReady,
    Overloaded,
    StorageFull,
    TimedOut,
)

__all__ = [
    "AlreadyExists",
    "ApiError",
    "AttachmentNotFound",
    "BlockerHidden",
    "CallerGone",
    "CallsLimited",
    "ChannelArchived",
    "ChannelNotAdmin",
    "ChannelNotFound",
    "ChannelNotMember",
    "Conflict",
    "Contended",
    "CursorExpired",
    "DatabaseUnavailable",
    "EtagMismatch",
    "First",
    "HeadTooLarge",
    "IdempotencyKeyReused",
    "IdentityDeactivated",
    "IdentityNotFound",
    "InternalError",
    "InvalidInput",
    "KeyExpired",
    "KeyInvalid",
    "KeyMissing",
    "KeyRevoked",
    "LastAdmin",
    "LeaseLost",
    "LogFull",
    "MemberNotFound",
    "MemberRemoved",
    "MessageNotFound",
    "MethodNotAllowed",
    "NotAssigned",
    "NotAssignee",
    "NotClaimable",
    "NotFound",
    "NotHolder",
    "NotReady",
    "NotYoursToShow",
    "Overloaded",
    "ParentCycle",
    "PermissionDenied",
    "RateLimited",
    "RelationCycle",
    "RunClaimed",
    "RunEnded",
    "RunNotFound",
    "ScopeMissing",
    "SoleMember",
    "StateNotFound",
    "StorageFull",
    "TaskNotFound",
    "TaskReadOnly",
    "TimedOut",
    "TooManyParts",
    "TooSlow",
    "Unauthenticated",
    "Unavailable",
    "Unframed",
    "UnknownCoding",
    "UnknownEncoding",
    "UnknownHost",
    "UnknownPath",
    "UnknownVersion",
    "UrlTooLong",
    "VersionConflict",
    "VersionNotFound",
    "WaitsLimited",
    "Way",
]
