"""How to go on from an answer: the ids in it, and the operations that take them."""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_args, get_origin

from app.decoding import places
from app.documents.openapi.structs import Schema, schema_of
from app.operations.channels.channel import Channel
from app.operations.messages.message import Message, MessageOutput
from app.operations.records.states import State
from app.operations.records.task import TaskRecord
from app.operations.runs.run import Claim
from app.operations.tasks.comment import TaskComment
from app.operations.tasks.task import Task
from app.rpc import RECORDS, Operation

IDS: Final[dict[Any, dict[str, str]]] = {  # Any: structs, each another type
    Task: {"taskId": "id", "version": "version"},
    TaskComment: {"taskId": "taskId", "parentCommentId": "id"},
    Claim: {"runId": "run/id", "taskId": "task/id", "version": "task/version"},
    Channel: {"channelId": "id", "channel_id": "id"},
    Message: {
        "messageId": "id",
        "threadId": "id",
        "parent_message_id": "id",
        "channelId": "channelId",
        "channel_id": "channelId",
    },
    MessageOutput: {"messageId": "id", "channelId": "channel_id", "channel_id": "channel_id"},
    TaskRecord: {"taskId": "id"},
    State: {"stateId": "id"},
}
"""By what is answered: the fields that go on from it, and where their values stand. What it is about comes first."""

MUST_HAVE: Final = frozenset({"runId"})
"""Fields that many take beside what they are about: a link goes to those that cannot do without."""


class Link(NamedTuple):
    """A way on, and the name it has among the components."""

    name: str
    target: str
    described: Schema


def links_from(op: Operation, operations: tuple[Operation, ...]) -> Iterator[Link]:
    """The ways on from the answer of an operation; from a list those of its first item."""
    several = get_origin(op.result) is list
    kind = get_args(op.result)[0] if several else op.result
    ids = IDS.get(kind)
    if ids is None or "fields" in op.request.__struct_encode_fields__:
        return
    start = "$response.body#" + ("" if op.family is RECORDS else "/data") + ("/0" if several else "")
    for target in operations:
        if (op.family is RECORDS) == (target.family is RECORDS) and _goes_on(ids, target):
            name = f"{id_of(target)}.{'first-' if several else ''}{_kebab(kind.__name__)}"
            yield Link(name, id_of(target), _link(target, ids, start))


def links_of(op: Operation, operations: tuple[Operation, ...]) -> Schema:
    """What the response with the answer of an operation says of the ways on."""
    links = {link.target: {"$ref": f"#/components/links/{link.name}"} for link in links_from(op, operations)}
    return {"links": links} if links else {}


def _goes_on(ids: dict[str, str], target: Operation) -> bool:
    fields = target.request.__struct_encode_fields__
    about = next(iter(ids))
    if about in MUST_HAVE:
        return about in schema_of(target.request).get("required", ())
    return any(field in fields for field in ids if ids[field] == ids[about])


def _link(target: Operation, ids: dict[str, str], start: str) -> Schema:
    elsewhere = places(target.request)
    taken = {field: ids[field] for field in target.request.__struct_encode_fields__ if field in ids}
    parameters = {
        field: f"{start}/{place}" for field, place in taken.items() if elsewhere.get(field) == "path"
    }
    body = {field: f"{start}/{place}" for field, place in taken.items() if field not in elsewhere}
    return {
        "operationId": id_of(target),
        "description": target.summary,
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": body} if body else {}),
    }


def id_of(op: Operation) -> str:
    """The operationId of an operation.

    The clients of records call a run a task, so their operations have the names of those on tasks. A generator that spells
    ids its own way would make one name of both. So the document calls them task records.
    """
    return re.sub(r"task(s?)$", r"task-record\1", _kebab(op.name)) if op.family is RECORDS else op.name


def _kebab(name: str) -> str:
    return re.sub("(?<!^)([A-Z])", r"-\1", name).lower()
