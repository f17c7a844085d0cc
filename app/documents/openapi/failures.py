"""Which errors an operation can answer with, in which order, and what they are called."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from app.documents.refusals import refusal
from app.errors import (
    ApiError,
    CallsLimited,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InternalError,
    InvalidInput,
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    Overloaded,
    ScopeMissing,
    StorageFull,
    TimedOut,
    UnknownHost,
    WaitsLimited,
)
from app.rpc import AGENT, Family, Operation

ALWAYS: Final = (
    InvalidInput,
    KeyMissing,
    KeyInvalid,
    KeyExpired,
    KeyRevoked,
    UnknownHost,
    InternalError,
    DatabaseUnavailable,
    StorageFull,
    TimedOut,
    Overloaded,
)
"""The errors that every operation can answer with, whatever it declares."""


def errors_of(op: Operation) -> list[type[ApiError]]:
    """Every error that an operation can answer with."""
    scope = () if op.scope is None else (ScopeMissing,)
    key = () if op.read_only else (IdempotencyKeyReused,)
    limited = () if op.spared is True else (CallsLimited,)
    waits = (WaitsLimited,) if op.patience_seconds else ()
    return in_order((*ALWAYS, *scope, *key, *limited, *waits, *op.errors))


def in_order(errors: Iterable[type[ApiError]]) -> list[type[ApiError]]:
    """Each error once, in the order of app/errors, which is by status."""
    wanted = set(errors)
    return [error for error in _below(ApiError) if error in wanted]


def _below(base: type[ApiError]) -> Iterator[type[ApiError]]:
    for error in base.__subclasses__():
        yield error
        yield from _below(error)


def by_status(errors: Iterable[type[ApiError]]) -> Iterator[Sequence[type[ApiError]]]:
    """Errors in groups of the same status."""
    for _, group in groupby(errors, key=lambda error: error.status):
        yield list(group)


def by_family(operations: tuple[Operation, ...]) -> list[tuple[Family, list[type[ApiError]]]]:
    """The families that operations belong to, each with all errors of its operations."""
    families = dict.fromkeys(op.family for op in operations)
    return [
        (family, in_order(error for op in operations if op.family is family for error in errors_of(op)))
        for family in families
    ]


def spelled(family: Family, name: str) -> str:
    """The name of a component that each family spells its own way."""
    return name if family is AGENT else family.name.capitalize() + name


def base_of(error: type[ApiError]) -> type[ApiError]:
    """The class of the tree that an error stands under: there is one for each status."""
    return next(base for base in ApiError.__subclasses__() if issubclass(error, base))


def together(errors: Sequence[type[ApiError]], family: Family) -> str:
    """The name of the response with these errors, which are of one status: every operation that can give them shares it."""
    if len(errors) > 1 and set(errors) <= set(ALWAYS):
        return spelled(family, base_of(errors[0]).__name__)
    return spelled(family, "Or".join(error.__name__ for error in errors))


def schema_name(error: type[ApiError]) -> str:
    """The name of the schema of all errors under the same class."""
    return base_of(error).__name__.removesuffix("Error") + "Error"


def name_of(error: type[ApiError], family: Family = AGENT) -> str:
    """The code of an error as a family spells it, and the reason where several share a code."""
    body = refusal(error, family)
    said = body.get("error", body)
    reason = said.get("details", {}).get("reason")
    return f"{said['code']}/{reason}" if reason else said["code"]


def prose(error: type[ApiError]) -> str:
    """What an error means."""
    return " ".join((error.__doc__ or "").split())
