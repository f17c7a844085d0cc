"""The OpenAPI document and docs/operations.md: fresh, complete, and true to the last example."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from jsonschema import Draft202012Validator, ValidationError

from app.auth import hash_of, new_key
from app.decoding import places
from app.documents import reference
from app.documents.examples import ADA, ERRORS, EXAMPLES, GENERAL, SCOUT, TOKEN, WORKSPACE, answer, refusal
from app.documents.examples_runs import WAITING
from app.documents.openapi.document import document
from app.documents.openapi.failures import errors_of
from app.errors import ApiError
from app.operations import OPERATIONS, create_task
from app.rpc import AGENT, BARE, Operation
from app.transports import envelope
from app.types import Scope
from tests.conftest import World
from tests.http.judge import Judge

DOCUMENT = document(OPERATIONS)
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

every_operation = pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)


@pytest.fixture(scope="module")
def by_the_book() -> Judge:
    """A judge with the document as the code derives it."""
    return Judge(DOCUMENT)


def methods() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for verb, method in item.items():
            yield path, verb, method


def test_the_reference_is_fresh() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "app.documents.reference", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stderr


def test_a_stale_reference_is_named_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(reference, "FILES", {tmp_path / "docs" / "operations.md": reference.operations_md})
    (tmp_path / "docs").mkdir()
    assert reference.main(["--check"]) == 1
    assert "docs/operations.md is stale. Run `python -m app.documents.reference`" in capsys.readouterr().err
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_the_document_that_is_served_is_the_one_that_is_kept(judge: Judge) -> None:
    assert judge.document == json.loads((reference.DOCS / "openapi.json").read_text())


def test_every_operation_is_a_post_and_reads_are_also_gets() -> None:
    expected = {(op.path, verb) for op in OPERATIONS for verb in verbs(op)}
    assert {(path, verb) for path, verb, _ in methods()} == expected | {
        ("/healthz", "get"),
        ("/openapi.json", "get"),
    }
    ids = [method["operationId"] for _, _, method in methods()]
    assert len(ids) == len(set(ids))
    for op in OPERATIONS:
        assert DOCUMENT["paths"][op.path][verbs(op)[0]]["operationId"] == op.name


@every_operation
def test_an_operation_documents_exactly_the_errors_it_can_give(op: Operation) -> None:
    for verb in verbs(op):
        method = DOCUMENT["paths"][op.path][verb]
        documented: set[str] = set()
        for status, response in method["responses"].items():
            if status == str(op.status):
                continue
            whole = Judge(DOCUMENT).resolved(response)
            prefix = "" if op.family in (AGENT, BARE) else op.family.name.capitalize()
            examples = {
                name.removeprefix(prefix) for name in whole["content"]["application/json"]["examples"]
            }
            assert {ERRORS[error].status for error in ERRORS if error.__name__ in examples} == {int(status)}
            documented |= examples
        assert documented == {error.__name__ for error in errors_of(op)}


def test_every_error_says_what_to_do_next_and_fits_its_schema(by_the_book: Judge) -> None:
    for error, example in DOCUMENT["components"]["examples"].items():
        sdk = error.removeprefix("Sdk") != error
        status = next(known.status for known in ERRORS if known.__name__ == error.removeprefix("Sdk"))
        response = httpx.Response(
            status,
            json=example["value"],
            headers={"x-request-id": example["value"]["meta"]["requestId"], "retry-after": "1"},
            request=httpx.Request(
                "POST", f"http://localhost/v1/{'sdk/post' if sdk else 'agent/update-task'}"
            ),
        )
        if status in {400, 401, 403, 404, 409, 500, 503}:
            by_the_book.judge(response)


@every_operation
def test_the_example_of_a_request_is_what_the_operation_takes(op: Operation, by_the_book: Judge) -> None:
    request = EXAMPLES[op.name].request
    body = {name: value for name, value in request.items() if name not in places(op.request)}
    by_the_book.validate({"$ref": f"#/components/schemas/{op.request.__name__}"}, body)
    op.decoder.from_json(json.dumps(request).encode())


def test_every_object_in_an_answer_is_closed_and_complete() -> None:
    optional = {
        "BareError": {"reason", "runId", "taskId", "endReason", "endedAt", "holder"},  # where a claim is over
        "TaskPart": set(SCHEMAS["TaskPart"]["properties"]),  # the caller chooses
        "ErrorDetails": set(SCHEMAS["ErrorDetails"]["properties"]),  # facts where there are some
        "SdkErrorDetails": set(SCHEMAS["SdkErrorDetails"]["properties"]),
        "Pagination": {"total"},
        "Obstacle": {"holder", "status", "blockers", "hiddenBlockers"},
        "VerifyConnectionResult": {"reason", "verifiedAt", "agentId", "workspaceId"},
    }
    for name in reachable_from_answers():
        for where, schema in objects(SCHEMAS[name], name):
            if where.endswith(".metadata"):  # what machines put there is theirs
                continue
            assert schema["additionalProperties"] is False, where
            missing = set(schema["properties"]) - set(schema.get("required", ()))
            assert missing == (
                {"details"} if where.endswith("Error.error") else optional.get(where, set())
            ), where


def test_everything_is_described() -> None:
    for path, verb, method in methods():
        assert method["summary"] and method["tags"], (path, verb)
        for parameter in method["parameters"]:
            assert Judge(DOCUMENT).resolved(parameter)["description"]
    for name, schema in SCHEMAS.items():
        for field, inner in schema.get("properties", {}).items():
            assert inner.get("description") or "$ref" in inner or name.endswith(("Envelope", "Error")), (
                f"{name}.{field}"
            )


def test_names_are_words_of_the_product() -> None:
    assert all(re.fullmatch("[A-Z][A-Za-z]+", name) for name in SCHEMAS)
    text = json.dumps(DOCUMENT)
    assert "$defs" not in text
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(SCHEMAS)
    assert not re.findall("https?://", text)


def test_every_schema_is_one() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "name, good, bad",
    [
        ("CreateTask", {"title": "  x "}, {"title": "  "}),
        ("CreateTask", {"title": f" {'x' * 500}\n"}, {"title": "x" * 501}),
        ("CreateTask", {"title": "é" * 500}, {"title": "a\0b"}),
        ("CreateTask", {"title": "x", "assigneeAgentId": "a", "assigneeUserId": None},
                       {"title": "x", "assigneeAgentId": "a", "assigneeUserId": "b"}),
        ("CreateTask", {"title": "x", "status": "in_review"}, {"title": "x", "status": "done"}),
        ("CreateTask", {"title": "x", "anything": 1}, {"description": "x"}),
        ("UpdateTask", {"taskId": "T-1", "version": 1.0}, {"taskId": "T-1", "version": 1.5}),
        ("UpdateTask", {"taskId": "T-1", "version": 1}, {"taskId": "T-1", "version": 0}),
        ("UpdateTask", {"taskId": "T-1", "version": 1, "assigneeAgentId": None, "assigneeUserId": None},
                       {"taskId": "T-1", "version": 1, "assigneeAgentId": "a", "assigneeUserId": "b"}),
        ("ListTasks", {"status": ["open", "done"]}, {"status": "opened"}),
        ("ListTasks", {"fields": ["id"]}, {"fields": []}),
        ("ListTasks", {"cursor": "019c2f60-5a00-7000-8000-00000000000a"}, {"cursor": "019c2f60-5a00-7000-8000-00000000000a\n"}),
        ("ResolveIdentity", {"handle": "ada"}, {"handle": "ada", "email": "ada@example.test"}),
        ("ResolveIdentity", {"email": "ada@example.test"}, {}),
        ("CreateTasksBulk", {"tasks": [{"title": "x"}]}, {"tasks": [{"title": ""}]}),
        ("CreateTasksBulk", {"tasks": [{"title": "x"}] * 50}, {"tasks": [{"title": "x"}] * 51}),
        ("CreateTasksBulk", {"tasks": '[{"title": "x"}]'}, {"tasks": []}),
        ("CommentOnTask", {"taskId": "T-1", "body": "x", "mentions": [{"id": "a"}]},
                          {"taskId": "T-1", "body": "x", "mentions": [{"id": ""}]}),
    ],
)  # fmt: skip
async def test_what_fits_the_schema_is_accepted_and_what_does_not_is_refused(
    name: str,
    good: dict[str, Any],
    bad: dict[str, Any],
    http: httpx.AsyncClient,
    workspace: World,
    by_the_book: Judge,
) -> None:
    [op] = [op for op in OPERATIONS if op.request.__name__ == name]
    bot = await workspace.agent()
    await bot(create_task, title="T-1")
    by_the_book.validate({"$ref": f"#/components/schemas/{name}"}, good)
    with pytest.raises(ValidationError):
        by_the_book.validate({"$ref": f"#/components/schemas/{name}"}, bad)
    assert (await http.post(op.path, json=good, headers=bot.headers)).status_code in {200, 404}
    assert (await http.post(op.path, json=bad, headers=bot.headers)).status_code == 400


async def test_the_examples_are_what_happens(http: httpx.AsyncClient, workspace: World) -> None:
    """Plays the story of the examples in a workspace with their ids, and compares every answer."""
    keys = await _stage(workspace)
    told, happened = _Names(), _Names()
    for op in OPERATIONS:
        example = EXAMPLES[op.name]
        headers = {"Authorization": f"Bearer {keys[example.by]}"}
        request = happened.retold(example.request, told)
        response = await sent(http, op, request, headers)
        assert response.status_code == op.status, f"{op.name}: {response.text}"
        tale = (
            json.loads(envelope.success(example.result, "", BARE))
            if op.family is BARE
            else answer(example.result)
        )
        happens, tells = happened.masked(response.json()), told.masked(tale)
        assert json.dumps(happens, indent=1) == json.dumps(tells, indent=1), op.name


def test_the_judge_refuses_what_is_not_documented(by_the_book: Judge) -> None:
    body = answer(EXAMPLES["get-task"].result)
    request = httpx.Request("POST", "http://localhost/v1/agent/get-task")
    headers = {"x-request-id": body["meta"]["requestId"]}
    by_the_book.judge(httpx.Response(200, json=body, headers=headers, request=request))
    for wrong in (
        {**body, "extra": 1},
        {**body, "data": {**body["data"], "extra": 1}},
        {**body, "data": {**body["data"], "status": "open"}},
        {**body, "data": {**body["data"], "createdAt": "yesterday"}},
        {**body, "meta": {}},
        refusal(next(iter(ERRORS))),
    ):
        with pytest.raises((ValidationError, AssertionError)):
            by_the_book.judge(httpx.Response(200, json=wrong, headers=headers, request=request))
    for status in (418, 405, 409):
        with pytest.raises(AssertionError):
            by_the_book.judge(httpx.Response(status, json=body, headers=headers, request=request))
    assert issubclass(next(iter(ERRORS)), ApiError)


def verbs(op: Operation) -> list[str]:
    """The methods that an operation answers to, the first under its own name."""
    if op.method is not None:
        return [op.method.lower()]
    return ["post", "get"] if op.read_only else ["post"]


async def sent(
    http: httpx.AsyncClient, op: Operation, request: dict[str, Any], headers: dict[str, str]
) -> httpx.Response:
    """A request to an operation, with each field where it belongs."""
    elsewhere = places(op.request)
    path, query = op.path, dict[str, Any]()
    for name, place in elsewhere.items():
        if place == "path":
            path = path.replace(f"{{{name}}}", request[name])
        elif place == "query":
            query = {name: request[name]} if name in request else {}
        elif name in request:
            headers = {**headers, place: request[name]}
    body = {name: value for name, value in request.items() if name not in elsewhere}
    bodiless = op.method in {"GET", "DELETE"}
    return await http.request(
        op.method or "POST", path, params=query, json=None if bodiless else body, headers=headers
    )


def reachable_from_answers() -> set[str]:
    """The schemas that answers are made of."""
    found = {name for name in SCHEMAS if name.endswith(("Envelope", "Error"))}
    while (
        more := {
            ref for name in found for ref in re.findall(r'schemas/([A-Za-z]+)"', json.dumps(SCHEMAS[name]))
        }
        - found
    ):
        found |= more
    return found


def objects(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object schema inside of a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:  # others hold what callers put there
            yield where, schema
        for key, inner in schema.items():
            yield from objects(inner, where if key in {"properties", "items", "anyOf"} else f"{where}.{key}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects(inner, where)


async def _stage(world: World) -> dict[str, str]:
    """Make the workspace of the story, in which T-41 was the last task. The keys of its agent and its user."""
    keys = {"scout": new_key(), "ada": new_key()}
    names: dict[str, object] = {
        "acme": WORKSPACE,
        "general": GENERAL,
        "ada": ADA,
        "scout": SCOUT,
    }
    await world.rows(
        """INSERT INTO workspaces (id, slug, name) VALUES (%(acme)s::uuid, 'acme', 'Acme') RETURNING id""",
        **names,
    )
    await world.rows(
        """INSERT INTO task_counters (workspace_id, last_number) VALUES (%(acme)s::uuid, 41) RETURNING workspace_id""",
        **names,
    )
    await world.rows(
        """INSERT INTO channels (workspace_id, id, name) VALUES (%(acme)s::uuid, %(general)s::uuid, 'general')
           RETURNING id""",
        **names,
    )
    await world.rows(
        """INSERT INTO identities (workspace_id, id, kind, handle, name, owner_id)
           VALUES (%(acme)s::uuid, %(ada)s::uuid, 'user', 'ada', 'Ada', NULL),
                  (%(acme)s::uuid, %(scout)s::uuid, 'agent', 'scout', 'Scout', %(ada)s::uuid)
           RETURNING id""",
        **names,
    )
    for task in WAITING:
        await world.rows(
            """INSERT INTO tasks (workspace_id, id, number, title, created_by_id, created_by_kind, channel_id)
               VALUES (%(acme)s::uuid, %(id)s::uuid, %(number)s, %(title)s, %(ada)s::uuid, 'user', %(general)s::uuid)
               RETURNING id""",
            **names, id=task.id, number=int(task.identifier[2:]), title=task.title,
        )  # fmt: skip
    await world.rows(
        """INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
           VALUES (%(acme)s::uuid, %(general)s::uuid, %(ada)s::uuid, 'admin'),
                  (%(acme)s::uuid, %(general)s::uuid, %(scout)s::uuid, 'poster') RETURNING role""",
        **names,
    )
    for who, key in keys.items():
        await world.rows(
            """INSERT INTO api_keys (workspace_id, id, identity_id, hash, prefix, scopes)
               VALUES (%(acme)s::uuid, %(who)s::uuid, %(who)s::uuid, %(hash)s, '', %(scopes)s::text[]) RETURNING id""",
            acme=WORKSPACE, who=names[who], hash=hash_of(key), scopes=list(get_args(Scope)),
        )  # fmt: skip
    await world.rows(
        """INSERT INTO verify_tokens (workspace_id, hash, agent_id, expires_at)
           VALUES (%(acme)s::uuid, %(hash)s, %(scout)s::uuid, now() + interval '1 minute') RETURNING hash""",
        **names, hash=hash_of(TOKEN),
    )  # fmt: skip
    return keys


CHANCE = {"requestId", "timestamp", "cursor"}  # keys whose values are another every time


class _Names:
    """Gives every id that came up while the story was told a number, so that two tellings can be compared."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {id: id for id in (WORKSPACE, GENERAL, ADA, SCOUT)}

    def retold(self, value: Any, told: "_Names") -> Any:
        """What a telling says, with the ids of this one."""
        mine = {label: id for id, label in self._ids.items()}
        match value:
            case dict():
                return {key: self.retold(inner, told) for key, inner in value.items()}
            case str():
                return mine.get(told._ids.get(value, ""), value)
            case _:
                return value

    def masked(self, value: Any) -> Any:
        match value:
            case dict():
                return {
                    self.masked(key): f"a {key}" if inner and key in CHANCE else self.masked(inner)
                    for key, inner in value.items()
                }
            case list():
                return [self.masked(inner) for inner in value]
            case str() if re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
                return self._ids.setdefault(value, f"id {len(self._ids)}")
            case str() if (
                re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value) and value != "2026-03-31T17:00:00.000Z"
            ):
                return "a moment"
            case _:
                return value
