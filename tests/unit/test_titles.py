"""Titles and names: something to see, and nothing that plays with a terminal."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from app.errors import InvalidInput
from app.types import Title, trimmed_title

[META] = [meta for meta in get_args(Title) if isinstance(meta, Meta)]
assert META.extra_json_schema is not None
PATTERN = re.compile(META.extra_json_schema["pattern"])


@pytest.mark.parametrize(
    "title",
    [
        "",
        " ",
        "\u200b",
        "\u200b\u2060\u00ad\u3164",
        "\u2800",
        "\u115f\uffa0",
        "\ufe0f",
        "\u202e",
        "\U000e0041",
        "\t\n",
    ],
)
def test_a_title_with_nothing_to_see_is_refused(title: str) -> None:
    with pytest.raises(InvalidInput):
        trimmed_title(title)


@pytest.mark.parametrize(
    "control", ["\x00", "\x07", "\x08", "\n", "\r", "\x1b[31m", "\x7f", "\x9b2J", "\x85"]
)
def test_a_title_has_no_control_characters(control: str) -> None:
    with pytest.raises(InvalidInput):
        trimmed_title(f"a{control}b")


@pytest.mark.parametrize(
    "title",
    ["x", "a\tb", "❤️", "👩‍👩‍👧", "🏴\U000e0067\U000e0062\U000e007f", "日本語", "שלום", "e\u0301", "."],
)
def test_what_people_write_is_kept_as_it_is(title: str) -> None:
    assert trimmed_title(f" \t{title} \u3000\n") == title


@given(st.text(max_size=6) | st.text(alphabet="a \t\n\u200b\u3164\x1b\ufe0f\x9b", max_size=6))
def test_the_documented_pattern_says_what_is_taken(title: str) -> None:
    try:
        trimmed_title(title)
    except InvalidInput:
        taken = False
    else:
        taken = True
    if taken or re.search(r"[a-z0-9]", title):  # that something shows is more than a pattern can say
        assert (PATTERN.search(title) is not None) == taken
