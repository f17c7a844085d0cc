"""What holds for every operation, whatever it does: it has tests of its own, and no value in any field upsets it."""

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import pytest

from app.errors import ApiError, InvalidInput, ScopeMissing
from app.operations import OPERATIONS, create_task, get_channels, send_message
from app.rpc import Operation, execute
from tests.conftest import Caller, World, spelled
from tests.operations.writes import told

every_operation = pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)

PLACES: Final[dict[str, object]] = {
    "taskId": "T-1",
    "otherTaskId": "T-1",
    "runId": "019cadf1-2e40-7000-8000-000000000001",
    "stateId": "019cadf1-2e40-7000-8000-000000000001",
    "kind": "related",
}
"""What a required field can name here. All else that is required stands in the story of the examples."""


async def staged(workspace: World, op: Operation) -> tuple[Caller, dict[str, object]]:
    """A caller with a task and a message, and good values for what the operation requires."""
    bot = await workspace.agent("bot")
    await bot(create_task, title="x", assignee_agent_id=bot.id)
    [general] = await bot(get_channels)
    message = await bot(send_message, channel_id=general.id, content="x")
    places = {
        **PLACES,
        "channelId": general.id,
        "channel_id": general.id,
        "messageId": message.id,
        "memberId": bot.id,
    }
    fields = msgspec.structs.fields(op.request)
    needed = [field.encode_name for field in fields if field.required]
    sent = {spelled(op, name): value for name, value in told(op).items()}
    return bot, {name: places[name] if name in places else sent[name] for name in needed}


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


TEXTS: Final = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\udfff\ud800",
    "\ufffe\uffff\U0010ffff",
    "\u202e\u2066\u200b\ufeff",
    "🐝" * 500,
    "x" * 501,
    "x" * 10_000,
    "x" * 100_001,
    "'; DROP TABLE tasks; --",
    "%s %(items)s {0} $1 \\",
    "T-" + "9" * 400,
    "T-\u0661",
    "00000000-0000-0000-0000-000000000000\n",
    "9999-12-31T23:59:59.999999999-23:59",
    "0001-01-01T00:00:00+23:59",
    "1e400",
    "null",
]
VALUES: Final = [
    *TEXTS,
    None,
    True,
    0,
    -1,
    1.5,
    3.0,
    2**31,
    2**63,
    10**400,
    1e308,
    [],
    {},
    [[]],
    [None],
    [{}],
    ["\0"],
    [{"id": "\0"}],
    deep(500),
]


@every_operation
async def test_any_value_in_any_field_is_used_or_refused_in_words(workspace: World, op: Operation) -> None:
    bot, needed = await staged(workspace, op)
    fields = op.request.__struct_encode_fields__
    for field in (*fields, "unknownField"):
        for value in VALUES:
            try:
                await bot.post(op, json.dumps({**needed, field: value}).encode())
            except ApiError as e:
                assert_in_words(e)


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op.read_only], ids=lambda op: op.name)
async def test_any_text_in_any_parameter_is_used_or_refused_in_words(workspace: World, op: Operation) -> None:
    bot, needed = await staged(workspace, op)
    fields = op.request.__struct_encode_fields__
    for field in (*fields, "unknownField"):
        for value in TEXTS:
            query = urlencode({**needed, field: value}, errors="surrogatepass").encode()
            try:
                await execute(op, bot.context, query=query)
            except ApiError as e:
                assert_in_words(e)


def assert_in_words(error: ApiError) -> None:
    """A refusal of input says what is wrong, and repeats no more of it than fits a line."""
    assert error.status in {400, 403, 404, 409}
    assert 10 < len(error.message) < 500, error.message
    assert "\0" not in error.message
    json.dumps(error.details, default=str).encode()


@every_operation
async def test_what_is_no_object_is_refused(workspace: World, op: Operation) -> None:
    bot = await workspace.agent("all", scopes="all,operator")
    for body in (b"[]", b"null", b"7", b'"x"', b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000):
        with pytest.raises(InvalidInput):
            await bot.post(op, body)


@every_operation
async def test_its_scope_comes_before_its_body(workspace: World, op: Operation) -> None:
    bot = await workspace.agent("bot", scopes="iris-ask")
    if op.scope is None:
        with pytest.raises(InvalidInput, match="not valid JSON"):
            await bot.post(op, b"{")
    else:
        with pytest.raises(ScopeMissing, match=op.scope) as refused:
            await bot.post(op, b"{")
        assert refused.value.details == {"scope": op.scope}


@cache
def subjects() -> list[str]:
    """What the modules of tests of operations say they are about, read once."""
    modules = (Path(__file__).parent.parent / "operations").glob("test_*.py")
    return [(ast.get_docstring(ast.parse(module.read_text())) or "").partition(":")[0] for module in modules]


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op.method is None], ids=lambda op: op.name)
def test_it_has_a_module_of_tests(op: Operation) -> None:
    assert any(op.name in subject for subject in subjects()), (
        f"write tests/operations/test_{op.name.replace('-', '_')}.py, with a docstring that begins with {op.name}"
    )


def test_names_and_paths_are_unique() -> None:
    assert len({op.name for op in OPERATIONS}) == len(OPERATIONS)
    assert len({(op.method, op.path) for op in OPERATIONS}) == len(OPERATIONS)
