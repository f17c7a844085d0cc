"""What an error is, and the kinds there are: one for each status that a caller may see."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class First(NamedTuple):
    """Where an answer that is kept under an idempotency key was given first."""

    request_id: str
    timestamp: str
    replayed: bool  # False: this is the first time


class Way(NamedTuple):
    """A call that helps after a refusal, and the sentence that says so."""

    says: str
    operation: str
    arguments: Mapping[str, object] = MappingProxyType({})


class ApiError(Exception):
    """The request was refused.

    `ways` are calls that help, the best first. The message ends with the first; whoever has not all operations at hand
    is told the first of those it has. `to_models` is the message where a model is shown only a part of the details.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    retryable: ClassVar[bool] = False
    retry_after_seconds: int | None = None

    def __init__(
        self,
        message: str,
        details: Mapping[str, object] | None = None,
        *,
        ways: Sequence[Way] = (),
        to_models: str | None = None,
    ) -> None:
        self.said = message
        self.ways = ways
        self.to_models = to_models
        self.message = f"{message} {ways[0].says}" if ways else message
        super().__init__(self.message)
        self.details = details
        self.first: First | None = None

    def within(self, before: str, after: str) -> None:
        """Say the same of a part of a request: what it is, and what that means for the rest."""
        self.said = f"{before} {self.said}"
        self.message = f"{before} {self.message} {after}"
        self.args = (self.message,)

    def body(self) -> dict[str, object]:
        """What it says: the agent family and MCP send it so, idempotency keys keep it so, other families translate it."""
        body: dict[str, object] = {"code": self.code, "message": self.message, "retryable": self.retryable}
        return {**body, "details": self.details} if self.details else body


class InvalidInput(ApiError):
    """The input is malformed, out of range or contradicts itself. Correct it; resending it cannot help."""

    status = 400
    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None, **facts: object) -> None:
        details = {"field": field, **facts} if field else facts
        super().__init__(message, details or None)


class Unauthenticated(ApiError):
    """The request carries no API key, or one that lets nobody in."""

    status = 401


class PermissionDenied(ApiError):
    """The caller is known but may not do this."""

    status = 403
    code = "permission_denied"


class NotFound(ApiError):
    """There is no such thing, or the caller may not know of it: the two are not told apart."""

    status = 404
    code = "not_found"


class Conflict(ApiError):
    """The request was fine but the world is not as it supposes. Final: sent again unchanged it fails again."""

    status = 409
    code = "conflict"


class MethodNotAllowed(ApiError):
    """The path is there, and answers to other verbs, which the header `Allow` names."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, path: str, method: str, allowed: tuple[str, ...]) -> None:
        *others, last = [verb for verb in allowed if verb not in {"HEAD", "OPTIONS"}] or allowed
        verbs = f"{', '.join(others)} or {last}" if others else last
        super().__init__(f"{path[:80]} answers to {verbs}, not to {method[:20]}.")
        self.allowed = allowed


class UnknownEncoding(ApiError):
    """The body is compressed in a way that is not read here."""

    status = 415
    code = "unknown_encoding"

    def __init__(self, encoding: str, known: str) -> None:
        super().__init__(
            f"The body's Content-Encoding is {encoding[:40]!r}. Send it uncompressed, or with {known}."
        )
        self.known = known


class Unframed(ApiError):
    """What came is no request that can be read to its end. The connection is closed after the answer."""


class RateLimited(ApiError):
    """The caller asks for more than their share. Nothing was done; the same call may be sent again in a while.

    `policy` names the limit, which is `quota` in so many seconds; None: at any one time. `left` is what is left of it.
    """

    status = 429
    code = "rate_limited"
    retryable = True
    retry_after_seconds = 1

    def __init__(
        self,
        message: str,
        *,
        policy: str,
        quota: int,
        window_seconds: int | None,
        left: int,
        retry_after_seconds: int,
        **facts: object,
    ) -> None:
        details = {"policy": policy, "limit": quota, **facts, "retryAfterSeconds": retry_after_seconds}
        super().__init__(message, details)
        self.policy = policy
        self.quota = quota
        self.window_seconds = window_seconds
        self.left = left
        self.retry_after_seconds = retry_after_seconds


class InternalError(ApiError):
    """A bug on our side. The log has it under the request id."""

    status = 500
    code = "internal_error"
    retryable = True

    def __init__(self) -> None:
        super().__init__("Something went wrong on our side. If it repeats, report the request id.")


class Unavailable(ApiError):
    """The service cannot answer right now."""

    status = 503
    code = "upstream_unavailable"
    retryable = True
    retry_after_seconds = 1
