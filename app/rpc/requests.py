"""What every request begins with, and how a handler reads what was sent."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, ClassVar, Final, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.rpc.families import AGENT, RECORDS, SDK, Family
from app.types import NO_NUL, Id
from app.writes.fence import UnderRun
from app.writes.receipts import KEY_CHARACTERS_MAX

T = TypeVar("T")


class Request(msgspec.Struct, kw_only=True):
    """Base of every request; which family an operation belongs to follows from the subclass."""

    family: ClassVar[Family]

    rules: ClassVar[Mapping[str, object]] = {}
    """What no type of a single field can say, as JSON Schema for the documents; a class in it stands for its schema."""


class AgentRequest(Request, kw_only=True, rename="camel"):
    """Base of every request under `/v1/agent/`."""

    family: ClassVar[Family] = AGENT


IdempotencyKey: TypeAlias = Annotated[
    Annotated[str, Meta(min_length=1, max_length=KEY_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
    | None
    | UnsetType,
    Meta(
        description=(
            "A key of your own. A call sent again with it has no second effect and gets the first answer. For clients "
            "that cannot set the header `Idempotency-Key`, which takes precedence."
        )
    ),
]


class AgentWrite(AgentRequest, kw_only=True):
    """Base of every request under `/v1/agent/` that changes something."""

    run_id: UnderRun = UNSET
    idempotency_key: IdempotencyKey = UNSET


class ClaimWrite(AgentRequest, kw_only=True):
    """Base of those that write the very claim they name: see `own_fence` in app/writes/write.py."""

    run_id: Annotated[Id, Meta(description="Your claim: the id of its `run`.")]
    idempotency_key: IdempotencyKey = UNSET


class SdkRequest(Request, kw_only=True, forbid_unknown_fields=True):
    """Base of every request under `/v1/sdk/`."""

    family: ClassVar[Family] = SDK


class SdkWrite(SdkRequest, kw_only=True):
    """Base of every request under `/v1/sdk/` that changes something."""

    run_id: UnderRun = UNSET


class RecordRequest(Request, kw_only=True, rename="camel"):
    """Base of every request under `/v1/tasks` and `/v1/states`."""

    family: ClassVar[Family] = RECORDS


class RecordWrite(RecordRequest, kw_only=True):
    """The same for those that change something."""

    run_id: UnderRun = UNSET


UNTOLD: Final = {"tools": "untold"}
"""For the `Meta` of a field that tools take and do not tell of: a model has no use for it, or would be led astray."""

IN_PATH: Final = {"place": "path"}
"""For the `Meta` of a field that stands in the path."""

IN_QUERY: Final = {"place": "query"}
"""For the `Meta` of a field of a request that need not have a body; in one that is sent it counts all the same."""

EMPTIED: Final = {"null": "empties"}
"""For the `Meta` of a field that null empties. Tools take null for left out, and the name of such a field in `clear`."""


def changes(req: msgspec.Struct, *fields: str) -> dict[str, object]:
    """The fields a caller sent, by wire name: an absent one is left out, null stays null."""
    wire_name = _wire_names(type(req))
    return {wire_name[name]: value for name in fields if (value := getattr(req, name, UNSET)) is not UNSET}


@cache
def _wire_names(request: type[msgspec.Struct]) -> dict[str, str]:
    return dict(zip(request.__struct_fields__, request.__struct_encode_fields__, strict=True))


def emptied_by_null(request: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of a request that null empties, by wire name; in all others null and left out are one."""
    return marked(request, EMPTIED)


def marked(request: type[msgspec.Struct], mark: Mapping[str, str]) -> tuple[str, ...]:
    """The fields of a request whose `Meta` has this mark, by wire name."""
    found: list[str] = []
    for field in msgspec.structs.fields(request):
        kind = msgspec.inspect.type_info(field.type)
        extra: Mapping[str, object] = getattr(kind, "extra", None) or {}
        if mark.items() <= extra.items():
            found.append(field.encode_name)
    return tuple(found)


def given(value: T | UnsetType | None) -> T | None:
    """The value, with absent and null made one: for fields where clearing means nothing."""
    return None if value is UNSET else value
