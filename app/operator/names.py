"""What an operator may call things, and what the functions of this room answer with."""

import re
from typing import Final

import msgspec

from app.errors import InvalidInput
from app.types import CHANNEL_NAME, shows_something

LABEL_CHARACTERS_MAX: Final = 200  # a display name or a purpose is one line

NAMES: Final = {
    "slug": (
        re.compile("[a-z][a-z0-9-]{0,62}"),
        "workspaces start with a letter and have lowercase letters, digits and hyphens, 63 at most",
    ),
    "handle": (
        re.compile("[a-z0-9][a-z0-9-]{0,62}"),
        "handles have lowercase letters, digits and hyphens, 63 at most",
    ),
    "channel": (
        re.compile(CHANNEL_NAME),
        "channels start with a letter and have lowercase letters, digits and hyphens, 63 at most",
    ),
}
"""What names may look like, and the same in words; the CHECKs of schema.sql say it again, and take longer names of channels."""


class Made(msgspec.Struct, rename="camel"):
    """Base of what these functions answer with, a row where it is one; printed as camelCase JSON."""


def check_name(field: str, name: str) -> None:
    """Refuse a name that the schema would refuse, with the rule in words."""
    pattern, rule = NAMES[field]
    if not pattern.fullmatch(name):
        raise InvalidInput(f"`{name[:80]}` cannot be a {field}: {rule}.", field=field)


def check_text(field: str, text: str | None) -> None:
    """Refuse a text that is too long for one line, or shows nothing."""
    if text is not None and not (shows_something(text) and len(text) <= LABEL_CHARACTERS_MAX):
        raise InvalidInput(
            f"A {field} has 1 to {LABEL_CHARACTERS_MAX} characters, something to see, and no control characters.",
            field=field,
        )
