"""Requests of HTTP/1.1, from bytes to what they say: as RFC 9112 has it, within bounds, and however the bytes come.

Between a caller and us there may be others who read the same bytes. Where two readers disagree, one of them takes a
part of a body for a request. So this reads one way only, and refuses what could be read in another: a line that does
not end as lines do, a length that is not one number, two of what can be there once (docs/decisions/0083).

Nothing here knows of sockets or time. A `Reader` is given bytes and asked what they say. What it says depends on the
bytes alone, never on the pieces in which they came: a head is looked at when it is there whole.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from app.errors import (
    HeadTooLarge,
    InvalidInput,
    UnknownCoding,
    UnknownVersion,
    UrlTooLong,
)

HEAD_BYTES_MAX: Final = 64 * 1024  # as h11 has it; browsers stay below 16 KB
FIELDS_MAX: Final = 100  # as many servers have it; behind three proxies a request has thirty
REQUEST_LINE_BYTES_MAX: Final = 16 * 1024  # twice the 8,000 that RFC 9112 asks for
LENGTH_DIGITS_MAX: Final = 15  # of a Content-Length: still a thousand terabytes
CHUNK_LINE_BYTES_MAX: Final = 256  # a size has eight digits; extensions, which are ignored, are seldom there
TRAILER_BYTES_MAX: Final = 8 * 1024  # all are ignored
FRAMING_BYTES_SPARE: Final = (
    16 * 1024
)  # chunks may cost this much more than FRAMING_BYTES_PER_BYTE of what they carry
FRAMING_BYTES_PER_BYTE: Final = 16

HEADS_REMEMBERED_MAX: Final = 4096  # by operation, API key and length of the body; about 3 kB each
HEAD_BYTES_REMEMBERED_MAX: Final = 1024  # an agent's are shorter

LISTS: Final = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"access-control-request-headers",
        b"cache-control",
        b"connection",
        b"cookie",
        b"expect",
        b"forwarded",
        b"if-none-match",
        b"pragma",
        b"prefer",
        b"te",
        b"trailer",
        b"upgrade",
        b"via",
        b"warning",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
    }
)
"""Fields whose lines make one list. Of any other that anybody here reads, a second line could mean anything."""

SINGLE: Final = frozenset(
    {
        b"access-control-request-method",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"if-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"last-event-id",
        b"mcp-method",
        b"mcp-name",
        b"mcp-protocol-version",
        b"mcp-session-id",
        b"origin",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"transfer-encoding",
        b"user-agent",
        b"x-api-key",
        b"x-request-id",
    }
)
"""Fields that are refused when they are there twice. What nobody knows is passed on line by line."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rb"(%b) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_FIELD: Final = re.compile(rb"^(%b):([\t -~\x80-\xff]*)\r\n" % _TOKEN, re.MULTILINE)
_PATH: Final = re.compile(rb"%b (?:[hH][tT][tT][pP][sS]?://[^/? ]*)?(/[!-~]*)" % _TOKEN)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)(/[^#]*|\?[^#]*|)", re.IGNORECASE)
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_LENGTH: Final = re.compile(rb"[0-9]{1,%d}" % LENGTH_DIGITS_MAX)
_STOP: Final = re.compile(rb"\r\n\r\n|(?<!\r)\n|\r(?!\n|\Z)|\0")  # the end of a head, or what is in none
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~\x80-\xff]*)?\r\n")
_END: Final = b"\r\n\r\n"


class Head(NamedTuple):
    """What was said ahead of a body. Each field that we know is there once."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    keep_alive: bool
    body_bytes: int | None  # None: it comes in chunks, and ends when they say so
    asks_first: bool  # whether the body comes only when it is asked for


def read_head(raw: bytes) -> Head:
    """What a whole head says, its empty line included; an ApiError if that could be read in more than one way."""
    lines_ended = raw.count(b"\r\n")
    if (
        not lines_ended == raw.count(b"\n") == raw.count(b"\r")
        or b"\0" in raw
        or raw.find(_END) != len(raw) - len(_END)
    ):
        raise _broken_line()
    line, _, lines = raw[: -len(b"\r\n")].partition(b"\r\n")
    request = _REQUEST_LINE.fullmatch(line)
    if request is None:
        raise InvalidInput(
            "This is not a request of HTTP/1.1: it begins with `METHOD /path HTTP/1.1`, and the path is percent-encoded."
        )
    method, target, major, minor = request.groups()
    if major != b"1":
        raise UnknownVersion
    if lines_ended - 2 > FIELDS_MAX:
        raise HeadTooLarge(f"The request has more than {FIELDS_MAX} header fields.")
    fields = _fields(lines)
    authority, raw_path, query = _target(method, target)
    modern = minor != b"0"
    found = dict(fields)  # enough: of those asked for here there is one each
    host = found.get(b"host")
    if host is None and modern:
        raise InvalidInput("The header `Host` is missing.")
    if host is not None and not _HOST.fullmatch(host):
        raise InvalidInput("The header `Host` is not a host, with or without a port.")
    if authority is not None:  # then this is the host (RFC 9112, 3.2.2)
        fields = [(b"host", authority), *(field for field in fields if field[0] != b"host")]
    body_bytes = _body_bytes(found, modern=modern)
    return Head(
        method.decode(),
        unquote(raw_path.decode()),
        raw_path,
        query,
        "1.1" if modern else "1.0",
        tuple(fields),
        modern and not _closes(found.get(b"connection")),
        body_bytes,
        modern and body_bytes != 0 and found.get(b"expect", b"").lower() == b"100-continue",
    )


def _closes(connection: bytes | None) -> bool:
    """Whether the caller wants the connection closed after the answer."""
    return connection is not None and b"close" in {
        option.strip().lower() for option in connection.split(b",")
    }


def _lines(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Name and value of each line, if all are that."""
    found = _FIELD.findall(lines)
    if len(found) != lines.count(b"\n"):
        raise InvalidInput("A line beside the request is not `Name: value`.")
    return found


def _fields(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Name and value of each field. The lines of a list become one, in their order."""
    fields: list[tuple[bytes, bytes]] = []
    places: dict[bytes, int] = {}
    for written, padded in _lines(lines):
        name, value = written.lower(), padded.strip(b" \t")
        if name not in places:
            places[name] = len(fields)
            fields.append((name, value))
        elif name in SINGLE:
            raise InvalidInput(f"The header `{name.decode()}` is there twice.")
        elif name in LISTS:
            glue = b"; " if name == b"cookie" else b", "
            fields[places[name]] = (name, glue.join((fields[places[name]][1], value)))
        else:
            fields.append((name, value))
    return fields


def _target(method: bytes, target: bytes) -> tuple[bytes | None, bytes, bytes]:
    """The host, if it stands there, the path and the query of what a request asks for."""
    authority = None
    if target[:1] != b"/" and (target != b"*" or method != b"OPTIONS"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None or not _HOST.fullmatch(absolute[1]):
            raise InvalidInput("The request's target is neither a path nor a URL.")
        authority, target = absolute[1], absolute[2]
        target = target if target[:1] == b"/" else b"/" + target
    if b"#" in target:
        raise InvalidInput("The request's target has a fragment, `#…`, which is for the client alone.")
    path, _, query = target.partition(b"?")
    return authority, path, query


def _body_bytes(found: dict[bytes, bytes], *, modern: bool) -> int | None:
    """How long the body is."""
    length, coding = found.get(b"content-length"), found.get(b"transfer-encoding")
    if coding is not None:
        if not modern or length is not None:
            raise InvalidInput("Send the body in chunks with HTTP/1.1, or with its Content-Length; not both.")
        if coding.lower() != b"chunked":
            raise UnknownCoding
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise InvalidInput("The header `Content-Length` is not one number.")
    return int(length)


def _broken_line() -> InvalidInput:
    return InvalidInput("Lines of the request's head end with CR and LF, and hold no other, nor NUL.")


_remembered_head: Final = lru_cache(HEADS_REMEMBERED_MAX)(read_head)
"""The same agent asks for the same again and again: most heads were read before, byte for byte."""


def path_in(raw: bytes) -> str:
    """The path that a head asks for, as far as that can be made out; for who has to say that it is refused."""
    found = _PATH.match(raw)
    return unquote(found[1].partition(b"?")[0].decode()) if found else ""


class Reader:
    """The requests of one connection, one after the other: of each its head, then its body in pieces until the last."""

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._at = 0  # what stands before was read
        self._looked = 0  # up to here a head was found not to end
        self._left: int | None = 0  # of the body, or of the chunk; None: a line with a size comes next
        self._chunked = False
        self._trailing = False
        self._carried = 0  # bytes in the chunks of this body
        self._framing = 0  # bytes that say how long they are

    @property
    def waiting_bytes(self) -> int:
        """How much was received that nobody has asked for yet."""
        return len(self._buffer) - self._at

    def receive(self, data: bytes) -> None:
        """Take what has come."""
        if self._at == len(self._buffer):
            self._buffer, self._at, self._looked = data, 0, 0
            return
        if self._at or not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(memoryview(self._buffer)[self._at :])
            self._looked = max(self._looked - self._at, 0)
            self._at = 0
        self._buffer += data

    def head(self) -> Head | None:
        """The head of the next request, if it is there whole. Its body is to be read before the one behind it."""
        buffer, start = self._buffer, self._at
        end = buffer.find(_END, max(start, self._looked)) + len(_END)
        if end < len(_END) or end - start > HEAD_BYTES_REMEMBERED_MAX or buffer[start] in b"\r\n":
            end = self._end_of_head()
            if end is None:
                return None
            start = self._at
        raw = bytes(buffer[start:end])
        head = _remembered_head(raw) if len(raw) <= HEAD_BYTES_REMEMBERED_MAX else read_head(raw)
        self._at = self._looked = end
        self._left, self._chunked = head.body_bytes, head.body_bytes is None
        self._trailing, self._carried, self._framing = False, 0, 0
        return head

    def body(self) -> tuple[bytes, bool]:
        """What is there of the body, and whether that was the last of it."""
        return self._chunks() if self._chunked else self._measured()

    def path(self) -> str:
        """The path of the head that comes next, as far as it can be made out."""
        return path_in(bytes(self._buffer[self._at : self._at + REQUEST_LINE_BYTES_MAX]))

    def _end_of_head(self) -> int | None:
        """Where the head ends that comes next; None if that is not there yet. What comes first decides."""
        buffer = self._buffer
        empty = _EMPTY_LINES.match(buffer, self._at)
        assert empty is not None, "no line is some lines"
        self._at = start = empty.end()
        limit = start + HEAD_BYTES_MAX
        stop = _STOP.search(buffer, max(start, self._looked), limit)
        where = min(len(buffer), limit) if stop is None else stop.start()
        line_max = start + REQUEST_LINE_BYTES_MAX
        if where > line_max and buffer.find(b"\r\n", start, line_max) < 0:
            raise UrlTooLong(f"The request's first line is longer than {REQUEST_LINE_BYTES_MAX} bytes.")
        if stop is None:
            if where == limit:
                raise HeadTooLarge(f"The request's head is larger than {HEAD_BYTES_MAX} bytes.")
            self._looked = max(start, len(buffer) - len(_END) + 1)
            return None
        if stop[0] != _END:
            raise _broken_line()
        return stop.end()

    def _measured(self) -> tuple[bytes, bool]:
        assert self._left is not None, "its length was said"
        piece = bytes(self._buffer[self._at : self._at + self._left])
        self._at += len(piece)
        self._left -= len(piece)
        return piece, self._left == 0

    def _chunks(self) -> tuple[bytes, bool]:
        pieces: list[bytes] = []
        while not self._trailing:
            if self._left:  # of the chunk's data
                piece = bytes(self._buffer[self._at : self._at + self._left])
                pieces.append(piece)
                self._at += len(piece)
                self._left -= len(piece)
                self._carried += len(piece)
            if not (self._size() if self._left is None else self._left == 0 and self._line_end()):
                return b"".join(pieces), False
        return b"".join(pieces), self._trailer()

    def _line_end(self) -> bool:
        """Take the end of line behind a chunk, if it is there."""
        end = bytes(self._buffer[self._at : self._at + 2])
        if not b"\r\n".startswith(end):
            raise InvalidInput("A chunk of the body is longer than it says.")
        if len(end) < len(b"\r\n"):
            return False
        self._at += len(end)
        self._left = None
        return True

    def _size(self) -> bool:
        """Take the line ahead of a chunk, if it is there."""
        limit = self._at + CHUNK_LINE_BYTES_MAX
        line = _CHUNK_LINE.match(self._buffer, self._at, limit)
        if line is None:
            if len(self._buffer) >= limit or self._buffer.find(b"\n", self._at) >= 0:
                raise InvalidInput("A chunk of the body does not begin with its size in hexadecimal digits.")
            return False
        self._framing += line.end() - self._at
        if self._framing > FRAMING_BYTES_SPARE + FRAMING_BYTES_PER_BYTE * self._carried:
            raise InvalidInput("The body comes in chunks that say more about themselves than they carry.")
        self._at = self._looked = line.end()
        size = int(line[1], 16)
        self._left, self._trailing = size or None, not size
        return True

    def _trailer(self) -> bool:
        """Take what stands behind the last chunk, if it is there whole. Nothing in it counts (RFC 9110, 6.5.1)."""
        buffer, start = self._buffer, self._at
        if buffer[start : start + 2] == b"\r\n":
            self._at = start + 2
            return True
        limit = start + TRAILER_BYTES_MAX
        stop = _STOP.search(buffer, max(start, self._looked), limit)
        if stop is None:
            if len(buffer) >= limit:
                raise HeadTooLarge(f"What follows the body is larger than {TRAILER_BYTES_MAX} bytes.")
            self._looked = max(start, len(buffer) - len(_END) + 1)
            return False
        if stop[0] != _END:
            raise _broken_line()
        if len(_lines(bytes(buffer[start : stop.start() + 2]))) > FIELDS_MAX:
            raise HeadTooLarge(f"More than {FIELDS_MAX} fields follow the body.")
        self._at = stop.end()
        return True
