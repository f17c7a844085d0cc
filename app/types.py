"""The words every module shares: what an id, a title or a moment is, on the wire.

Requests use the checked ones (`Title`, `When`, `Limit`); answers use `Timestamp`, a string, because Postgres
writes it and nobody here reads it. Lengths count Unicode code points.
"""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, UnsetType

from app.errors import InvalidInput

TITLE_CHARACTERS_MAX: Final = 500  # the contract's number (section 5)
TEXT_CHARACTERS_MAX: Final = (
    100_000  # a description or comment: some 25,000 tokens, more than an agent should post
)
CHANNEL_NAME: Final = "[a-z][a-z0-9-]{0,62}"
"""What a channel may be called, whoever makes it. schema.sql takes 80 characters: operators once could make those."""

NOTE_CHARACTERS_MAX: Final = 10_000  # of a note or handoff: some 2,500 tokens, which the next holder reads
NAME_CHARACTERS_MAX: Final = 500  # longest id, handle or email worth looking up; longer ones cannot exist
QUERY_CHARACTERS_MAX: Final = 200  # a search term; every three characters of it cost one index probe
PAGE_ROWS_MAX: Final = 100  # the contract's number; 100 tasks are about 100 kB
PAGE_ROWS_DEFAULT: Final = 50
BULK_ROWS_MAX: Final = 50  # the contract's number
MENTIONS_MAX: Final = 20  # more than that is a broadcast, for which there are channels
FIELDS_MAX: Final = 40  # more than there are
VERSION_MAX: Final = 2_147_483_647  # what a Postgres integer holds

NO_NUL: Final = {"pattern": "^[^\\u0000]*$"}  # Postgres cannot store it, so the decoder refuses it everywhere

Id = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
"""An id as users send it: a UUID, or `T-42` where a task is meant. Anything else simply is not found."""

WHITE_SPACE: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What JavaScript trims, and what `\\s` means in a JSON Schema: so the pattern of a title says exactly what we do."""

CONTROL: Final = "\\u0000-\\u0008\\u000a-\\u001f\\u007f-\\u009f"
"""What moves a cursor, rings a bell or colours a terminal, as a pattern has it: all control characters but the tab."""

BLANK: Final = (
    "\\u00ad\\u061c\\u115f\\u1160\\u180e\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\u2800\\u3164\\uffa0"
)
"""What shows nothing, besides white space, as a pattern has it. It may stand in a title, but not alone."""

Title = Annotated[
    str,
    Meta(
        extra_json_schema={
            "pattern": (
                f"^\\s*[^\\s{CONTROL}]([^{CONTROL}]{{0,{TITLE_CHARACTERS_MAX - 2}}}[^\\s{CONTROL}])?\\s*$"
            )
        }
    ),
]
"""1 to 500 characters after trimming, none of them a control character. Checked by `trimmed_title`: trimming comes first."""

Markdown = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
"""Markdown text, up to 100,000 characters."""

Note = Annotated[str, Meta(max_length=NOTE_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
"""What a holder says of its work, or leaves for the next one."""

Handle = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
"""The unique short name of a user or agent; a leading `@` is ignored."""

When = Annotated[datetime, Meta(tz=True)]
"""A moment as RFC 3339 with an offset, such as `2026-12-01T09:00:00Z`."""

Timestamp = Annotated[
    str,
    Meta(
        extra_json_schema={
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        }
    ),
]
"""A moment in an answer: RFC 3339 in UTC with milliseconds and `Z`."""

Version = Annotated[int, Meta(ge=1, le=VERSION_MAX)]
"""The optimistic lock of a task: 1 on creation, one more with every change."""

Limit = Annotated[int, Meta(ge=1)]
"""How many rows to return; anything above 100 means 100."""

Cursor = Annotated[str, Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=36)]
"""Where a page ends: the id of its last row. The length is there because `$` also matches before a line feed."""

PageLimit = Annotated[Limit | UnsetType, Meta(description="How many at most: 50 by default, up to 100.")]
"""The `limit` of a list whose pages have PAGE_ROWS_DEFAULT rows."""

PageCursor = Annotated[
    Cursor | None | UnsetType, Meta(description="The `pagination.cursor` of the page before.")
]
"""The `cursor` of a list in the order of its ids."""

TaskStatus = Literal["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done", "cancelled"]
NewTaskStatus = Literal["triage", "backlog", "todo", "in_progress", "blocked", "in_review"]
StatusFilter = Literal[
    "open", "triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done", "cancelled"
]
TaskPriority = Literal["none", "low", "medium", "high", "urgent"]
IdentityKind = Literal["user", "agent"]
ActorKind = Literal["user", "agent", "system"]
"""Who does something to a task: also the service itself, where nobody did."""

Scope = Literal[
    "channel-read",
    "channel-write",
    "dm-read",
    "dm-write",
    "task-read",
    "task-write",
    "memory-capture",
    "memory-recall",
    "knowledge-read",
    "workspace-read",
    "agents-read",
    "iris-ask",
    "operator",
]


_CONTROL: Final = re.compile(f"[{CONTROL}]")
_SHOWN: Final = re.compile(
    f"[^\\s{CONTROL}{BLANK}\\u034f\\u180b-\\u180f\\ufe00-\\ufe0f\\ufeff\\U000e0000-\\U000e0fff]"
)


SHOWS_SOMETHING: Final = {"pattern": f"^[^{CONTROL}]*[^\\s{CONTROL}{BLANK}][^{CONTROL}]*$"}
"""What `shows_something` asks of a name, as a schema has it."""


def shows_something(text: str) -> bool:
    """Whether a text is something to look at: it has a visible character, and none that plays with a terminal."""
    return _SHOWN.search(text) is not None and _CONTROL.search(text) is None


def trimmed_title(title: str) -> str:
    """The title without surrounding white space; InvalidInput when nothing, or too much, is left, or what is no text."""
    title = title.strip(WHITE_SPACE + "\x1c\x1d\x1e\x1f\x85")  # these are white space in some patterns
    if not 1 <= len(title) <= TITLE_CHARACTERS_MAX:
        message = (
            f"A title has 1 to {TITLE_CHARACTERS_MAX} characters after trimming; this one has {len(title)}."
        )
        raise InvalidInput(message, field="title")
    if not shows_something(title):
        message = "A title has something to see, and no control characters such as line feeds: the rest belongs into the text."
        raise InvalidInput(message, field="title")
    return title
