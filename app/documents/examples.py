"""One example of every operation: what was sent and what came back when the story was played.

They are read from docs/examples.json, which a test writes: see story.py. Here is also how to tell, without playing it,
that the file does not belong to the code any more.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from app.config import PROJECT
from app.documents.story import STORY, Of, Told, found, resolved
from app.rpc import RECORDS, Operation

RECORDING: Final = PROJECT / "docs" / "examples.json"
COMMAND: Final = "make examples"


class Example(msgspec.Struct, frozen=True):
    """A call as it was played."""

    by: str
    request: dict[str, Any]
    status: int
    answer: Any  # JSON of any shape


def recorded(path: Path = RECORDING) -> dict[str, Example]:
    """The examples by operation."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Example])


EXAMPLES: Final = recorded()


def value(operation: str, *path: str | int) -> Any:  # Any: JSON
    """A value out of a recorded answer."""
    return found(EXAMPLES[operation].answer, path)


def stale(
    operations: tuple[Operation, ...],
    examples: dict[str, Example] = EXAMPLES,
    story: dict[str, Told] = STORY,
) -> Iterator[str]:
    """What the recording has that the code has not, or the other way round."""
    for op in operations:
        if op.name not in story:
            yield f"{op.name} is not in the story: app/documents/story.py"
    if list(story) != list(examples):
        yield "it is the recording of another story"
        return

    def meant(of: Of) -> object:
        return found(examples[of.operation].answer, of.path)

    for op in operations:
        example, told = examples[op.name], story[op.name]
        if (example.by, example.request, example.status) != (
            told.by,
            resolved(told.request, meant),
            op.status,
        ):
            yield f"{op.name} is called another way"
        elif "fields" not in told.request and (why := _unlike(op, example.answer)):
            yield f"{op.name} answers with something else: {why}"


def _unlike(op: Operation, answer: Any) -> str | None:  # Any: JSON
    """Why an answer cannot be one of this operation, if so."""
    try:
        msgspec.convert(answer if op.family is RECORDS else answer["data"], op.result)
    except msgspec.ValidationError as e:
        return str(e)
    return None
