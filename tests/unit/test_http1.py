"""What the bytes of a request mean: RFC 9110 and 9112 say so, h11 agrees, and the pieces they come in say nothing."""

import re
from typing import NamedTuple

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.errors import ApiError
from app.server.http1 import (
    CHUNK_LINE_BYTES_MAX,
    FIELDS_MAX,
    HEAD_BYTES_MAX,
    LISTS,
    REQUEST_LINE_BYTES_MAX,
    SINGLE,
    TRAILER_BYTES_MAX,
    Head,
    Reader,
    read_head,
)


class Heard(NamedTuple):
    """A request as it was understood."""

    head: Head
    body: bytes


def read(*pieces: bytes) -> list[Heard | int | None]:
    """The requests in some bytes. At the end stands the status of a refusal, or None for a request that is not there whole."""
    reader, heard = Reader(), list[Heard | int | None]()
    head: Head | None = None
    body = b""
    for piece in pieces:
        reader.receive(piece)
        while True:
            try:
                if head is None:
                    head, body = reader.head(), b""
                    if head is None:
                        break
                part, whole = reader.body()
            except ApiError as e:
                return [*heard, e.status]
            body += part
            if not whole:
                break
            heard.append(Heard(head, body))
            head = None
    return [*heard, None] if head is not None or reader.waiting_bytes else heard


def one(data: bytes) -> Heard:
    [heard] = read(data)
    assert isinstance(heard, Heard), heard
    return heard


def lines(*said: bytes, end: bytes = b"\r\n") -> bytes:
    return end.join((*said, b"", b""))


HOST = b"Host: localhost"
POST = b"POST /x HTTP/1.1"
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")

WELL_FORMED = {
    "a GET": (lines(b"GET /a?b=c HTTP/1.1", HOST), b""),
    "a body with its length": (lines(POST, HOST, b"Content-Length: 3") + b"abc", b"abc"),
    "a length of nothing": (lines(POST, HOST, b"Content-Length: 0"), b""),
    "a length with zeros ahead": (lines(POST, HOST, b"Content-Length: 003") + b"abc", b"abc"),
    "chunks": (lines(POST, HOST, b"Transfer-Encoding: chunked") + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
    "chunks in capitals": (lines(POST, HOST, b"TRANSFER-ENCODING: Chunked") + b"A\r\n0123456789\r\n00\r\n\r\n", b"0123456789"),
    "chunk extensions": (lines(POST, HOST, b"Transfer-Encoding: chunked") + b'3;a=b;c="d"\r\nabc\r\n0;x\r\n\r\n', b"abc"),
    "trailers": (lines(POST, HOST, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\nX-A: b\r\nHost: evil\r\n\r\n", b"abc"),
    "an empty line ahead": (b"\r\n\r\n" + lines(b"GET / HTTP/1.1", HOST), b""),
    "blanks around a value": (lines(b"GET / HTTP/1.1", HOST, b"X:  \t a b \t"), b""),
    "an empty value": (lines(b"GET / HTTP/1.1", HOST, b"X:"), b""),
    "Latin-1 in a value": (lines(b"GET / HTTP/1.1", HOST, b"X: caf\xe9"), b""),
    "a verb nobody knows": (lines(b"BREW /pot HTTP/1.1", HOST), b""),
    "an absolute URL": (lines(b"GET http://here:80/a HTTP/1.1", b"Host: there"), b""),
    "the server itself": (lines(b"OPTIONS * HTTP/1.1", HOST), b""),
    "HTTP/1.0 without a host": (lines(b"GET / HTTP/1.0"), b""),
    "an IPv6 host": (lines(b"GET / HTTP/1.1", b"Host: [::1]:8000"), b""),
    "an offer to upgrade": (
        lines(POST, HOST, *H2C, b"Content-Length: 3") + b"abc",
        b"abc",
    ),
    "an offer to upgrade, with chunks": (
        lines(POST, HOST, *H2C, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
        b"abc",
    ),
    "a body that is a request": (lines(POST, HOST, b"Content-Length: 18") + b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"),
}  # fmt: skip

CHUNKED = b"Transfer-Encoding: chunked"
REFUSED = {
    "both lengths": (400, lines(POST, HOST, b"Content-Length: 3", CHUNKED) + b"0\r\n\r\n"),
    "both lengths, the other way round": (400, lines(POST, HOST, CHUNKED, b"Content-Length: 3") + b"0\r\n\r\n"),
    "two lengths": (400, lines(POST, HOST, b"Content-Length: 3", b"Content-Length: 4") + b"abcd"),
    "the same length twice": (400, lines(POST, HOST, b"Content-Length: 3", b"Content-Length: 3") + b"abc"),
    "a list of lengths": (400, lines(POST, HOST, b"Content-Length: 3, 3") + b"abc"),
    "a length with a plus": (400, lines(POST, HOST, b"Content-Length: +3") + b"abc"),
    "a negative length": (400, lines(POST, HOST, b"Content-Length: -3") + b"abc"),
    "a hexadecimal length": (400, lines(POST, HOST, b"Content-Length: 0x3") + b"abc"),
    "a length with an underscore": (400, lines(POST, HOST, b"Content-Length: 1_0") + b"0123456789"),
    "a length in other digits": (400, lines(POST, HOST, b"Content-Length: \xd9\xa3") + b"abc"),
    "a length in Latin-1 digits": (400, lines(POST, HOST, b"Content-Length: \xb3") + b"abc"),
    "an empty length": (400, lines(POST, HOST, b"Content-Length:")),
    "a length of many digits": (400, lines(POST, HOST, b"Content-Length: 1" + b"0" * 40)),
    "a folded length": (400, lines(POST, HOST, b"Content-Length: 3", b" 4") + b"abc"),
    "a folded line": (400, lines(POST, HOST, b"X: a", b"\tb")),
    "a fold ahead of the first field": (400, lines(POST, b" " + HOST)),
    "a blank ahead of the colon": (400, lines(POST, HOST, b"Content-Length : 3") + b"abc"),
    "a tab ahead of the colon": (400, lines(POST, HOST, CHUNKED.replace(b":", b"\t:")) + b"0\r\n\r\n"),
    "a field without a name": (400, lines(POST, HOST, b": x")),
    "a field without a colon": (400, lines(POST, HOST, b"Content-Length")),
    "a name that is no token": (400, lines(POST, HOST, b"X(y): z")),
    "a name in Latin-1": (400, lines(POST, HOST, b"caf\xe9: z")),
    "bare LF": (400, lines(b"GET / HTTP/1.1", HOST, end=b"\n")),
    "one bare LF": (400, lines(b"GET / HTTP/1.1", HOST + b"\nX: y")),
    "a bare CR": (400, lines(b"GET / HTTP/1.1", HOST + b"\rX: y")),
    "CR CR LF": (400, lines(b"GET / HTTP/1.1", HOST + b"\r", b"X: y")),
    "NUL in a value": (400, lines(b"GET / HTTP/1.1", HOST, b"X: a\0b")),
    "NUL in a name": (400, lines(b"GET / HTTP/1.1", HOST, b"X\0: a")),
    "a control character in a value": (400, lines(b"GET / HTTP/1.1", HOST, b"X: a\x0bb")),
    "DEL in a value": (400, lines(b"GET / HTTP/1.1", HOST, b"X: a\x7fb")),
    "xchunked": (501, lines(POST, HOST, b"Transfer-Encoding: xchunked") + b"0\r\n\r\n"),
    "gzip, chunked": (501, lines(POST, HOST, b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"),
    "chunked, chunked": (501, lines(POST, HOST, b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n"),
    "chunked, identity": (501, lines(POST, HOST, b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n"),
    "identity": (501, lines(POST, HOST, b"Transfer-Encoding: identity") + b"0\r\n\r\n"),
    "chunked in quotes": (501, lines(POST, HOST, b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n"),
    "chunked with a parameter": (501, lines(POST, HOST, b"Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n"),
    "an empty coding": (501, lines(POST, HOST, b"Transfer-Encoding:") + b"0\r\n\r\n"),
    "a coding after a vertical tab": (400, lines(POST, HOST, b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n"),
    "a coding after a no-break space": (501, lines(POST, HOST, b"Transfer-Encoding: \xa0chunked") + b"0\r\n\r\n"),
    "two codings": (400, lines(POST, HOST, CHUNKED, b"Transfer-Encoding: identity") + b"0\r\n\r\n"),
    "chunked twice": (400, lines(POST, HOST, CHUNKED, CHUNKED) + b"0\r\n\r\n"),
    "a folded coding": (400, lines(POST, HOST, b"Transfer-Encoding:", b" chunked") + b"0\r\n\r\n"),
    "chunks in HTTP/1.0": (400, lines(b"POST /x HTTP/1.0", HOST, CHUNKED) + b"0\r\n\r\n"),
    "no host": (400, lines(b"GET / HTTP/1.1")),
    "two hosts": (400, lines(b"GET / HTTP/1.1", HOST, b"Host: other")),
    "the same host twice": (400, lines(b"GET / HTTP/1.1", HOST, HOST)),
    "a host that is none": (400, lines(b"GET / HTTP/1.1", b"Host: a b")),
    "a host with a path": (400, lines(b"GET / HTTP/1.1", b"Host: a/b")),
    "a host with a user": (400, lines(b"GET / HTTP/1.1", b"Host: a@b")),
    "two blanks": (400, lines(b"GET  / HTTP/1.1", HOST)),
    "a tab in the first line": (400, lines(b"GET\t/ HTTP/1.1", HOST)),
    "a blank behind the first line": (400, lines(b"GET / HTTP/1.1 ", HOST)),
    "a blank in the path": (400, lines(b"GET /a b HTTP/1.1", HOST)),
    "a path that is not encoded": (400, lines("GET /für HTTP/1.1".encode(), HOST)),
    "a path without a slash": (400, lines(b"GET x HTTP/1.1", HOST)),
    "a fragment": (400, lines(b"GET /a#b HTTP/1.1", HOST)),
    "another scheme": (400, lines(b"GET ftp://here/a HTTP/1.1", HOST)),
    "a tunnel": (400, lines(b"CONNECT here:443 HTTP/1.1", HOST)),
    "HTTP/0.9": (400, lines(b"GET /")),
    "no version": (400, lines(b"GET / ", HOST)),
    "http in small letters": (400, lines(b"GET / http/1.1", HOST)),
    "a version of two digits": (400, lines(b"GET / HTTP/1.11", HOST)),
    "HTTP/2 without asking": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/3": (505, lines(b"GET / HTTP/3.0", HOST)),
    "an answer": (400, lines(b"HTTP/1.1 200 OK", HOST)),
    "something else": (400, b"hello there\r\n\r\n"),
    "a chunk with a sign": (400, lines(POST, HOST, CHUNKED) + b"+3\r\nabc\r\n0\r\n\r\n"),
    "a chunk with 0x": (400, lines(POST, HOST, CHUNKED) + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a chunk with a blank ahead": (400, lines(POST, HOST, CHUNKED) + b" 3\r\nabc\r\n0\r\n\r\n"),
    "a chunk with a blank behind": (400, lines(POST, HOST, CHUNKED) + b"3 \r\nabc\r\n0\r\n\r\n"),
    "a chunk without a size": (400, lines(POST, HOST, CHUNKED) + b"\r\nabc\r\n0\r\n\r\n"),
    "a chunk of nine digits": (400, lines(POST, HOST, CHUNKED) + b"100000003\r\nabc\r\n0\r\n\r\n"),
    "a chunk that ends its line with LF": (400, lines(POST, HOST, CHUNKED) + b"3\nabc\r\n0\r\n\r\n"),
    "a chunk that ends with LF": (400, lines(POST, HOST, CHUNKED) + b"3\r\nabc\n0\r\n\r\n"),
    "a chunk longer than it says": (400, lines(POST, HOST, CHUNKED) + b"3\r\nabcd\r\n0\r\n\r\n"),
    "a chunk shorter than it says": (400, lines(POST, HOST, CHUNKED) + b"5\r\nabc\r\n0\r\n\r\n"),
    "a bare LF in an extension": (400, lines(POST, HOST, CHUNKED) + b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    "NUL in an extension": (400, lines(POST, HOST, CHUNKED) + b"3;a\0b\r\nabc\r\n0\r\n\r\n"),
    "an extension without end": (400, lines(POST, HOST, CHUNKED) + b"3;" + b"x" * CHUNK_LINE_BYTES_MAX),
    "trailers with bare LF": (400, lines(POST, HOST, CHUNKED) + b"0\r\nX: y\n\r\n\r\n"),
    "a trailer that is none": (400, lines(POST, HOST, CHUNKED) + b"0\r\nnothing\r\n\r\n"),
    "a folded trailer": (400, lines(POST, HOST, CHUNKED) + b"0\r\nX: y\r\n z\r\n\r\n"),
    "trailers without end": (431, lines(POST, HOST, CHUNKED) + b"0\r\n" + b"X: y\r\n" * (TRAILER_BYTES_MAX // 6 + 1)),
    "chunks of one byte with long extensions": (400, lines(POST, HOST, CHUNKED) + b"1;%b\r\na\r\n" % (b"x" * 200) * 1000),
    "a head without end": (431, POST + b"\r\n" + b"X-A: b\r\n" * (HEAD_BYTES_MAX // 8 + 1)),
    "one field without end": (431, POST + b"\r\nX-A: " + b"a" * HEAD_BYTES_MAX),
    "a name without end": (431, POST + b"\r\n" + b"a" * HEAD_BYTES_MAX),
    "too many fields": (431, lines(POST, HOST, *[b"X-%d: y" % n for n in range(FIELDS_MAX)])),
    "a URL without end": (414, b"GET /" + b"a" * REQUEST_LINE_BYTES_MAX),
    "a long URL": (414, lines(b"GET /" + b"a" * REQUEST_LINE_BYTES_MAX + b" HTTP/1.1", HOST)),
    "a verb without end": (414, b"G" * (REQUEST_LINE_BYTES_MAX + 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", WELL_FORMED)
def test_what_is_well_formed_is_read(name: str) -> None:
    sent, body = WELL_FORMED[name]
    assert one(sent).body == body
    assert [type(heard) for heard in read(sent + sent)] == [Heard, Heard], "and what follows is the next"


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_another_way_is_refused(name: str) -> None:
    status, sent = REFUSED[name]
    assert read(sent) == [status] or read(sent)[-1] == status


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_what_can_be_there_once_is_refused_twice(name: bytes) -> None:
    value = b"chunked" if name == b"transfer-encoding" else b"1"
    twice = [b"%b: %b" % (name, value), b"%b: %b" % (name.upper(), value)]
    host = [] if name == b"host" else [HOST]
    assert read(lines(POST, *host, *twice)) == [400]


@pytest.mark.parametrize("name", sorted(LISTS - {b"cookie", b"connection", b"expect"}))
def test_the_lines_of_a_list_are_one(name: bytes) -> None:
    heard = one(lines(b"GET / HTTP/1.1", b"%b: a" % name, HOST, b"%b: b" % name))
    assert heard.head.headers == ((name, b"a, b"), (b"host", b"localhost"))


def test_trailers_say_nothing() -> None:
    sent = lines(POST, HOST, CHUNKED) + b"0\r\nAuthorization: Bearer good\r\nOrigin: http://localhost\r\n\r\n"
    assert one(sent).head.headers == ((b"host", b"localhost"), (b"transfer-encoding", b"chunked"))


def test_the_host_of_an_absolute_url_is_the_one_that_counts() -> None:
    head = one(lines(b"GET http://here:80/a?b HTTP/1.1", b"Host: there")).head
    assert (head.headers, head.path, head.query) == (((b"host", b"here:80"),), "/a", b"b")


@pytest.mark.parametrize(
    "line, more, stays",
    [
        (b"GET / HTTP/1.1", (), True),
        (b"GET / HTTP/1.1", (b"Connection: close",), False),
        (b"GET / HTTP/1.1", (b"Connection: x, CLOSE",), False),
        (b"GET / HTTP/1.1", (b"Connection: x", b"Connection: close"), False),
        (b"GET / HTTP/1.0", (b"Connection: keep-alive",), False),
    ],
)
def test_whether_a_connection_stays(line: bytes, more: tuple[bytes, ...], stays: bool) -> None:
    assert one(lines(line, HOST, *more)).head.keep_alive == stays


def test_every_bound_is_one_that_can_be_reached() -> None:
    path = b"/" + b"a" * (REQUEST_LINE_BYTES_MAX - len(b"GET / HTTP/1.1\r\n"))
    assert one(lines(b"GET %b HTTP/1.1" % path, HOST)).head.raw_path == path
    assert one(lines(POST, HOST, *[b"X-%d: y" % n for n in range(FIELDS_MAX - 1)]))
    room = HEAD_BYTES_MAX - len(lines(POST, HOST, b"X: "))
    assert one(lines(POST, HOST, b"X: " + b"y" * room))
    assert read(lines(POST, HOST, b"X: " + b"y" * (room + 1))) == [431]


def test_a_head_is_remembered_by_all_of_its_bytes() -> None:
    first = lines(POST, HOST, b"Content-Length: 1") + b"a"
    second = lines(POST, HOST, b"Content-Length: 2") + b"bc"
    assert [heard.body for heard in map(one, (first, second, first))] == [b"a", b"bc", b"a"]


# However it comes ------------------------------------------------------------------------------------------

SAMPLES = [sent for sent, _ in WELL_FORMED.values()] + [sent for _, sent in REFUSED.values()]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=4), st.data())
def test_the_pieces_say_nothing(requests: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=12)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert read(*pieces) == read(sent)


@pytest.mark.parametrize("name", [*WELL_FORMED, *REFUSED])
def test_not_even_one_byte_at_a_time(name: str) -> None:
    sent = WELL_FORMED[name][0] if name in WELL_FORMED else REFUSED[name][1]
    sent = sent[: 4 * 1024] if len(sent) > 8 * 1024 else sent  # the bounds are tried above
    assert read(*(sent[n : n + 1] for n in range(len(sent)))) == read(sent)


SPICE = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"0",
    b"3",
    b"\xa0",
    b"\x0b",
    b"chunked",
    CHUNKED + b"\r\n",
    b"Content-Length: 3\r\n",
    b"Host: y\r\n",
    b"HTTP/1.1",
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([s for s in SAMPLES if len(s) < 1024]), st.data())
def test_what_is_read_here_is_read_elsewhere_in_the_same_way(sample: bytes, data: st.DataObject) -> None:
    """Any change to a request makes it one that is refused here, or that h11 reads to the same end with the same body."""
    sent = bytearray(sample)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(sent)))
        cut = data.draw(st.sampled_from((0, 0, 1, 2)))
        sent[at : at + cut] = data.draw(st.sampled_from((b"", *SPICE)))
    judge(bytes(sent))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(lines(b"GET http://here HTTP/1.1", HOST))
def test_nothing_is_a_crash(sent: bytes) -> None:
    judge(sent)
    judge(b"POST / HTTP/1.1\r\nHost: x\r\n" + sent + b"\r\n\r\n")
    judge(lines(POST, HOST, CHUNKED) + sent)


def judge(sent: bytes) -> None:
    """Hold what was read against what h11 reads."""
    for heard in read(sent):
        if not isinstance(heard, Heard) or heard.head.method == "CONNECT":
            return
        theirs = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        theirs.receive_data(
            re.sub(rb"\A(\r\n)+", b"", sent)
        )  # of empty lines ahead h11 takes one, and RFC 9112 some
        event = theirs.next_event()
        assert isinstance(event, h11.Request), sent
        assert event.method.decode() == heard.head.method
        body = b""
        while isinstance(event := theirs.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), sent
        assert body == heard.body
        sent = theirs.trailing_data[0]


def test_a_head_costs_no_more_than_its_bytes() -> None:
    """Every byte is looked at a few times, in how many pieces it may come: counted, since time says little."""
    reader = Reader()
    looked = 0

    class Counting(bytes):
        pass

    for piece in [POST + b"\r\nX: ", *[b"a"] * 2000]:
        before = reader._looked
        reader.receive(Counting(piece))
        assert reader.head() is None
        looked += reader.waiting_bytes - before
    assert looked < 20 * 2000


def test_a_head_is_whole_or_none() -> None:
    with pytest.raises(ApiError):
        read_head(b"GET / HTTP/1.1\r\nHost: x\r\n")
