"""Which handles a markdown text addresses: those outside code, and nothing that only looks like one."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.operations.mentions import HANDLES_READ_MAX, handles_in

HANDLE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@pytest.mark.parametrize(
    "text, handles",
    [
        ("@ada", ["ada"]),
        ("Hello @ada, and @bob!", ["ada", "bob"]),
        ("@bob @ada @bob", ["bob", "ada"]),
        ("@Ada @ADA", ["ada"]),
        ("(@ada) *@bob* \"@carol\" '@dave' <@eve>", ["ada", "bob", "carol", "dave", "eve"]),
        ("@ada's turn. @bob: yours; @carol?", ["ada", "bob", "carol"]),
        ("@ada,@bob", ["ada", "bob"]),
        ("line\n@ada\r\n@bob", ["ada", "bob"]),
        ("@build-bot-2", ["build-bot-2"]),
        ("@0", ["0"]),
        ("@ada-", ["ada"]),
        ("@ada--", ["ada"]),
        ("@" + "a" * 63, ["a" * 63]),
        ("é @ada ü", ["ada"]),
        ("你好@ada", ["ada"]),  # only Latin letters hold on to what follows
        ("请@ada看看", ["ada"]),
        ("@ada看看", ["ada"]),
        ("请 @ada 看看", ["ada"]),
        ("@ada，请", ["ada"]),  # noqa: RUF001
        ("Привет@ada", ["ada"]),
        ("Спроси@adaпожалуйста", ["ada"]),  # noqa: RUF001
        ("_@ada please_", ["ada"]),
        ("_@ada_ __@bob__ *@carol* **@dave**", ["ada", "bob", "carol", "dave"]),
        ("Done.@ada next", ["ada"]),
        ("Done.@ada.", ["ada"]),
        ("看@ada.谢谢", ["ada"]),
        ("＠ada", ["ada"]),  # noqa: RUF001 - as keyboards for Chinese type it
        ("😀@ada", ["ada"]),
    ],
)
def test_a_handle_is_found_whatever_stands_around_it(text: str, handles: list[str]) -> None:
    assert handles_in(text) == handles


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@ ada",
        "@-ada",
        "@_ada",
        "@@ada",
        "@ada@bob",
        "ada@example.test",
        "a.b@example.test",
        "https://example.test/@ada",
        "path/@ada",
        "x-@ada",
        "@ada_b",
        "@ada-x_y",
        "@adaé",
        "@" + "a" * 64,
        "@a-" + "b" * 62,
        "@ſ",  # noqa: RUF001 - which some take for an s
        "x@ada.com",
        "x_@ada.com",
        "a.@ada.com",
        "josé@ada.com",
        "почта@ada.com",
        "1@ada",
        "http://x/@ada",
        "a_@ada",
        "x＠ada",  # noqa: RUF001
        "@ada_b_",
    ],
)
def test_what_only_looks_like_a_handle_is_text(text: str) -> None:
    assert handles_in(text) == []


@pytest.mark.parametrize(
    "text, handles",
    [
        ("`@ada`", []),
        ("`@ada` @bob", ["bob"]),
        ("``@ada ` @bob`` @carol", ["carol"]),
        ("`a` @ada `b`", ["ada"]),
        ("`@ada @bob", ["ada", "bob"]),  # never closed, so no code
        ("``@ada`", ["ada"]),
        ("```\n@ada\n```\n@bob", ["bob"]),
        ("```python\n@ada\ndef f(): ...\n```", []),
        ("````\n```\n@ada\n```\n````\n@bob", ["bob"]),
        ("~~~\n@ada\n~~~\n@bob", ["bob"]),
        ("```\n@ada", []),  # a fence that is never closed runs to the end
        ("text\n```\n@ada\n```\n@bob\n```\n@carol\n```", ["bob"]),
        ("a ``` @ada\n\n@bob", ["ada", "bob"]),  # a fence stands at the start of a line
        ("`open\n\n@ada` @bob", ["ada", "bob"]),  # no span leaves its paragraph
        ("\\`@ada\\`", ["ada"]),  # an escaped backtick opens nothing
        ("`a\\` @ada `b`", ["ada"]),  # in a span a backslash is a backslash
        ("```\n@ada\n``` no end\n@bob\n```\n@carol", ["carol"]),
        ("```\n@ada\n~~~\n@bob\n```\n@carol", ["carol"]),
        ("```a`b\n@ada", ["ada"]),  # no info string has a backtick
        ("> ```\n> @ada\n@bob", ["bob"]),  # where the quotation ends, so does its fence
        ("- ```\n  @ada\n  ```\n  @bob\n@carol", ["bob", "carol"]),
        ("- ```\n  @ada\n\n@bob", ["bob"]),
        ("1. x\n\n   ~~~\n   @ada\n   ~~~\n\n@bob", ["bob"]),
        ("a `b\n- c @ada` d", ["ada"]),  # an item of a list is a block of its own
        ("# `a\n@ada` b", ["ada"]),
        ("` @ada\n1. \n`", []),  # an item with nothing in it ends no paragraph,
        ("` @ada\n2. a\n`", []),  # nor does one that begins a list with another number
        ("- ` @ada\n-\n  `", ["ada"]),  # but the next item of a list ends the one before
    ],
)
def test_code_addresses_nobody(text: str, handles: list[str]) -> None:
    assert handles_in(text) == handles


COMMONMARK = MarkdownIt("commonmark")

PIECES = st.sampled_from([
    "`", "``", "```", "~~~", "````", "\\", "a", " b ", "x ", " @h{} ", "\n", "\n\n", "\n```\n", "\n~~~\n", "\n- ", "\n1. ",
    "\n# ", "\n---\n", "\n  ", "\n   ",
])  # fmt: skip
"""What the border between prose and code depends on. Quotations in lists and code by indentation are left out: see prose()."""


def in_code(text: str) -> str:
    """What a parser of all of CommonMark takes for code."""
    found: list[str] = []
    for token in COMMONMARK.parse(text):
        if token.type == "fence":
            found.append(f"{token.info} {token.content} ")
        found += [f"{child.content} " for child in token.children or () if child.type == "code_inline"]
    return "".join(found)


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=12), st.booleans())
def test_code_is_what_a_parser_of_all_of_markdown_says(pieces: list[str], quoted: bool) -> None:
    text = "".join(piece.format(place) for place, piece in enumerate(pieces))
    text = re.sub("^", "> ", text, flags=re.MULTILINE) if quoted else text
    code = in_code(text)
    named = [f"h{place}" for place, piece in enumerate(pieces) if "{" in piece]
    assert handles_in(text) == [name for name in named if f"@{name} " not in code], (text, code)


@given(st.text() | st.text(alphabet="@ab-`~\n /.0_"))
def test_whatever_the_text_what_is_found_are_handles_each_once(text: str) -> None:
    found = handles_in(text)
    assert all(HANDLE.fullmatch(handle) for handle in found)
    assert len(set(found)) == len(found)
    assert all(f"@{handle}" in text.lower() for handle in found)


@given(st.lists(st.from_regex(HANDLE, fullmatch=True), max_size=20, unique=True))
def test_handles_in_prose_are_all_found_in_order_and_none_in_code(handles: list[str]) -> None:
    prose = " and ".join(f"@{handle}" for handle in handles)
    assert handles_in(prose) == handles
    assert handles_in(f"`{prose}`") == handles_in(f"```\n{prose}\n```") == []


def test_only_the_first_handles_of_a_long_list_are_read() -> None:
    everyone = [f"bot-{n}" for n in range(HANDLES_READ_MAX + 50)]
    assert handles_in(" ".join(f"@{handle}" for handle in everyone)) == everyone[:HANDLES_READ_MAX]


@pytest.mark.parametrize(
    "piece",
    ["`", "``a`", "~", "```", "@", "@a", "@a-", "-", "`@a``", "~~~`", "a@", "@" + "a" * 62, "`a\n", "``\n`"],
)
def test_the_longest_text_is_read_in_a_moment(piece: str) -> None:
    text = ("@ada " + piece * 100_000)[:100_000]
    began = time.process_time()
    handles_in(text)
    assert time.process_time() - began < 1, "not in linear time"
