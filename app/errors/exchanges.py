"""What came is no request that can be read to its end."""

from __future__ import annotations

from app.errors.kinds import Unframed


class TooSlow(Unframed):
    """The request did not come in the time that one may take."""

    status = 408
    code = "too_slow"
    retryable = True

    def __init__(self) -> None:
        super().__init__("The request came too slowly, or stopped halfway. Send it again.")


class UrlTooLong(Unframed):
    """The URL is longer than any that means something here."""

    status = 414
    code = "url_too_long"


class HeadTooLarge(Unframed):
    """The header fields are too many or too large."""

    status = 431
    code = "head_too_large"


class UnknownCoding(Unframed):
    """The body comes in a transfer coding other than `chunked`."""

    status = 501
    code = "unknown_coding"

    def __init__(self) -> None:
        super().__init__("The only Transfer-Encoding that is read here is `chunked`.")


class UnknownVersion(Unframed):
    """The request is of another version of HTTP."""

    status = 505
    code = "unknown_version"

    def __init__(self) -> None:
        super().__init__("This server speaks HTTP/1.1.")
