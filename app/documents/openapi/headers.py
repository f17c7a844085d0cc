"""The headers of requests and answers, each described once and referred to from everywhere."""

from typing import Final

from app.documents.openapi.structs import Schema
from app.writes.receipts import KEY_CHARACTERS_MAX

REQUEST_ID_PATTERN: Final = "^[A-Za-z0-9._:-]{1,128}$"

REQUEST_ID_PARAMETER: Final[Schema] = {
    "name": "X-Request-Id",
    "in": "header",
    "description": (
        f"Your own id for this request. One that matches `{REQUEST_ID_PATTERN}` comes back in the answer and stands "
        "in the log and the history; any other is replaced."
    ),
    "schema": {"type": "string"},
}

IDEMPOTENCY_KEY_PARAMETER: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "A key of your own for this call, unique among your calls of a day. The same request with the same key has no "
        "second effect and gets the first answer; another request with the same key is refused."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX, "pattern": "^[ -~]+$"},
}

REQUEST_ID_HEADER: Final[Schema] = {
    "description": "The id of the request, the same as `meta.requestId`.",
    "required": True,
    "schema": {"type": "string", "pattern": REQUEST_ID_PATTERN},
}

RETRY_AFTER_HEADER: Final[Schema] = {
    "description": "Seconds to wait before trying again.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": 30},
}

RATE_POLICY_HEADER: Final[Schema] = {
    "description": (
        "The limit that was met: its name, how much may be asked for at once (`q`), and in how many seconds that comes again "
        "(`w`). See draft-ietf-httpapi-ratelimit-headers-11."
    ),
    "required": True,
    "schema": {"type": "string"},
    "example": '"key";q=2000;w=10',
}

RATE_HEADER: Final[Schema] = {
    "description": "What is left of that limit (`r`), and after how many seconds the same call may be sent again (`t`).",
    "required": True,
    "schema": {"type": "string"},
    "example": '"key";r=1;t=1',
}

REPLAYED_HEADER: Final[Schema] = {
    "description": "This is the answer that the same request got the first time; nothing was done now.",
    "schema": {"const": "true"},
}

MERGED_FROM_HEADER: Final[Schema] = {
    "description": "The task had moved on from this version, which you sent, and your change was merged.",
    "schema": {"type": "integer", "minimum": 1},
}

TOLD_HEADER: Final[Schema] = {
    "description": (
        "What the call did besides its data, as JSON in ASCII: `claimEnded`, with the `runId` of a claim that ended with it and "
        "the `reason`."
    ),
    "schema": {"type": "string"},
}

IGNORED_HEADER: Final[Schema] = {
    "description": (
        "Fields of the request that nobody reads, each with the name that was probably meant, as a list of RFC 9651: "
        '`"runID";meant="runId"`.'
    ),
    "schema": {"type": "string"},
}

HEADERS: Final[Schema] = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}

HEADERS_503: Final[Schema] = {**HEADERS, "Retry-After": {"$ref": "#/components/headers/RetryAfter"}}

HEADERS_429: Final[Schema] = {
    **HEADERS_503,
    "RateLimit-Policy": {"$ref": "#/components/headers/RateLimitPolicy"},
    "RateLimit": {"$ref": "#/components/headers/RateLimit"},
}
