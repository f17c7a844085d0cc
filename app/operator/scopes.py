"""What a key may be allowed: scopes, and bundles of them by name."""

from typing import Final, get_args

from app.errors import InvalidInput
from app.types import Scope

ALL_SCOPES: Final[tuple[str, ...]] = get_args(Scope)
OPERATOR: Final = "operator"  # to interfere with others' work; in no preset, so that a key has it only where asked for by name
PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "all": tuple(scope for scope in ALL_SCOPES if scope != OPERATOR),
    "read-and-post": ("channel-read", "channel-write", "task-read", "task-write"),
    "read-only": ("channel-read", "task-read"),
}
"""Bundles of scopes by name (contract section 2). A new identity gets `all` by default: every scope but `operator`."""


def parse_scopes(text: str) -> list[str]:
    """Scopes from a list split on white space or commas, where a preset stands for its scopes (contract section 2)."""
    scopes: list[str] = []
    for word in text.replace(",", " ").split():
        if word not in PRESETS and word not in ALL_SCOPES:
            message = f"There is no scope `{word}`. There are the presets {', '.join(PRESETS)}, and {', '.join(ALL_SCOPES)}."
            raise InvalidInput(message, field="scopes")
        scopes += PRESETS.get(word, (word,))
    if not scopes:
        message = "A key needs at least one scope."
        raise InvalidInput(message, field="scopes")
    return [scope for scope in ALL_SCOPES if scope in scopes]
