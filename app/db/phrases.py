"""Phrases of SQL that stand in many statements: how a moment and a person go out, and how words are compared."""

from typing import LiteralString


def moment(at: LiteralString) -> LiteralString:
    """A timestamp as answers write it: RFC 3339 in UTC with milliseconds and `Z`."""
    return f"""to_char({at} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


def user(who: LiteralString) -> LiteralString:
    """The id of somebody, of whom a row keeps `<who>_id` and `<who>_kind`, if they are a human; else null."""
    return f"CASE WHEN {who}_kind = 'user' THEN {who}_id END"


def agent(who: LiteralString) -> LiteralString:
    """The same if they are an agent."""
    return f"CASE WHEN {who}_kind = 'agent' THEN {who}_id END"


def folded(text: LiteralString) -> LiteralString:
    """A text as it is compared: in lower case, in one normal form, and with one small sigma of the two that Greek has."""
    return f"translate(lower(normalize({text}, NFC)), 'ς', 'σ')"  # noqa: RUF001 - the Greek letters are meant
