"""The OpenAPI document and docs/operations.md: fresh, complete, and true to the last example."""

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from jsonschema import Draft202012Validator, ValidationError
from msgspec.structs import replace

from app.config import PROJECT
from app.decoding import places
from app.documents import examples, reference
from app.documents.examples import EXAMPLES
from app.documents.openapi.document import document
from app.documents.openapi.failures import errors_of
from app.documents.openapi.links import id_of
from app.documents.openapi.shared import NoName, named, used
from app.documents.refusals import ERRORS, refusal
from app.documents.story import REQUEST_ID, STORY, Told
from app.errors import ApiError
from app.operations import OPERATIONS, create_task
from app.rpc import AGENT, RECORDS, Operation
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
        ("/readyz", "get"),
        ("/openapi.json", "get"),
    }
    ids = [method["operationId"] for _, _, method in methods()]
    assert len(ids) == len(set(ids))
    for op in OPERATIONS:
        assert DOCUMENT["paths"][op.path][verbs(op)[0]]["operationId"] == id_of(op)


@every_operation
def test_an_operation_documents_exactly_the_errors_it_can_give(op: Operation) -> None:
    for verb in verbs(op):
        method = DOCUMENT["paths"][op.path][verb]
        documented: set[str] = set()
        for status, response in method["responses"].items():
            if status == str(op.status):
                continue
            whole = Judge(DOCUMENT).resolved(response)
            prefix = "" if op.family in (AGENT, RECORDS) else op.family.name.capitalize()
            examples = {
                name.removeprefix(prefix) for name in whole["content"]["application/json"]["examples"]
            }
            assert {ERRORS[error].status for error in ERRORS if error.__name__ in examples} == {int(status)}
            documented |= examples
        assert documented == {error.__name__ for error in errors_of(op)}


def test_every_error_says_what_to_do_next_and_fits_its_schema(by_the_book: Judge) -> None:
    for error, example in DOCUMENT["components"]["examples"].items():
        family = next((name for name in ("Sdk", "Record") if error.startswith(name)), "")
        status = next(known.status for known in ERRORS if known.__name__ == error.removeprefix(family))
        path = {"Sdk": "sdk/post", "Record": "tasks/x", "": "agent/update-task"}[family]
        response = httpx.Response(
            status,
            json=example["value"],
            headers={"x-request-id": REQUEST_ID, "retry-after": "1"},
            request=httpx.Request("PUT" if family == "Record" else "POST", f"http://localhost/v1/{path}"),
        )
        if status in {400, 401, 403, 404, 409, 500, 503}:
            by_the_book.judge(response)


@every_operation
def test_the_example_of_a_request_is_what_the_operation_takes(op: Operation, by_the_book: Judge) -> None:
    request = EXAMPLES[op.name].request
    body = {name: value for name, value in request.items() if name not in places(op.request)}
    if op.method not in {"GET", "DELETE"}:
        by_the_book.validate({"$ref": f"#/components/schemas/{op.request.__name__}"}, body)
    op.decoder.from_json(json.dumps(request).encode())


def test_every_object_in_an_answer_is_closed_and_complete() -> None:
    optional = {
        "RecordError": {
            "reason",
            "runId",
            "taskId",
            "endReason",
            "endedAt",
            "holder",
        },  # where a claim is over
        "TaskPart": set(SCHEMAS["TaskPart"]["properties"]),  # the caller chooses
        "ErrorDetails": set(SCHEMAS["ErrorDetails"]["properties"]),  # facts where there are some
        "SdkErrorDetails": set(SCHEMAS["SdkErrorDetails"]["properties"]),
        "Pagination": {"total"},
        "Inbox": {"you", "wokenBy"},  # without a cursor, and where one waits
        "YourChannel": {"members"},  # where there is room
        "TaskInFull": {"comments", "relations", "blockers", "hiddenBlockers", "handoff"},  # by `fields`
        "TaskInFullPart": set(SCHEMAS["TaskInFullPart"]["properties"]),
        "OpenBlocker": {"holder"},  # if there is one
        "Obstacle": {"holder", "status", "blockers", "hiddenBlockers"},
        "VerifyConnectionResult": {"reason", "verifiedAt", "agentId", "workspaceId"},
    }
    for name in reachable_from_answers():
        for where, schema in objects(SCHEMAS[name], name):
            assert schema["additionalProperties"] is False, where
            missing = set(schema["properties"]) - set(schema.get("required", ()))
            assert missing == ({"details"} if where.endswith("Problem") else optional.get(where, set())), (
                where
            )


def test_everything_is_described() -> None:
    for path, verb, method in methods():
        assert method["summary"] and method["tags"], (path, verb)
        for parameter in method["parameters"]:
            assert Judge(DOCUMENT).resolved(parameter)["description"]
    for name, schema in SCHEMAS.items():
        for field, inner in schema.get("properties", {}).items():
            assert (
                inner.get("description")
                or "$ref" in inner
                or name.endswith(("Envelope", "Error"))
                or "const" in inner
            ), f"{name}.{field}"


def test_names_are_words_of_the_product() -> None:
    assert all(re.fullmatch("[A-Z][A-Za-z]+", name) for name in SCHEMAS)
    text = json.dumps(DOCUMENT)
    assert "$defs" not in text
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(SCHEMAS)
    assert not re.findall("https?://", text)


def test_no_two_names_become_one_when_they_are_spelled_another_way() -> None:
    """Generators write `create-task` as createTask, CreateTask and create_task."""
    ids = [method["operationId"] for _, _, method in methods()]
    for names in (ids, *(list(components) for components in DOCUMENT["components"].values())):
        spelled = Counter(re.sub("[^a-z0-9]", "", name.lower()) for name in names)
        assert [name for name, times in spelled.items() if times > 1] == []


def test_every_schema_is_called_what_its_title_says() -> None:
    assert {name: schema["title"] for name, schema in SCHEMAS.items()} == {name: name for name in SCHEMAS}


def test_words_to_choose_from_have_a_name() -> None:
    for name, schema in SCHEMAS.items():
        if "enum" not in schema:
            assert '"enum"' not in json.dumps(schema), name
        else:
            assert len(set(schema["enum"])) == len(schema["enum"]) > 1, name
    for path, verb, method in methods():
        assert '"enum"' not in json.dumps(method.get("parameters", [])), (path, verb)


def test_words_without_a_name_are_refused() -> None:
    field = {"enum": ["x", "y"], "description": "One of two."}
    with pytest.raises(NoName, match="x"):
        named({"Thing": {"type": "object", "properties": {"kind": field}, "additionalProperties": False}})


def test_where_any_key_goes_the_document_says_so() -> None:
    for where, schema in every_schema(SCHEMAS, ""):
        if schema.get("type") == "object":
            assert {"properties", "additionalProperties"} & schema.keys(), where


def test_null_fits_wherever_a_field_of_a_request_may_be_left_out() -> None:
    """As the service takes it: see app/decoding.py."""
    for op in OPERATIONS:
        schema = SCHEMAS.get(op.request.__name__, {})
        for name, field in schema.get("properties", {}).items():
            free = "type" not in field and "$ref" not in field and "anyOf" not in field
            fits = free or {"type": "null"} in field.get("anyOf", [])
            assert fits or name in schema.get("required", ()), f"{op.name}: {name}"


def test_no_field_that_may_be_left_out_has_a_default() -> None:
    """Some generators would make it one that must be sent. What holds without it stands in its description."""
    assert [
        where for where, schema in every_schema(DOCUMENT["components"]["schemas"], "") if "default" in schema
    ] == []
    assert SCHEMAS["FailRun"]["properties"]["retry"]["description"].endswith("By default `true`.")
    for path, verb, method in methods():
        assert '"default"' not in json.dumps(method.get("parameters", [])), (path, verb)


def test_every_component_is_used() -> None:
    refs = set(used(DOCUMENT))
    for kind, components in DOCUMENT["components"].items():
        if kind != "securitySchemes":
            assert [name for name in components if f"#/components/{kind}/{name}" not in refs] == []


def test_every_refusal_is_written_once() -> None:
    for path, verb, method in methods():
        for status, response in method["responses"].items():
            assert "$ref" in response or status in {"200", "201"}, (path, verb, status)
    shared = {
        name: response
        for name, response in DOCUMENT["components"]["responses"].items()
        if not name.endswith("Done")
    }
    assert len({json.dumps(response, sort_keys=True) for response in shared.values()}) == len(shared)


def test_the_server_is_where_the_document_is() -> None:
    """So a path that a proxy puts before ours is kept by whoever reads it there."""
    assert [server["url"] for server in DOCUMENT["servers"]] == ["."]
    assert urljoin("https://example.test/baton/openapi.json", ".") == "https://example.test/baton/"


def test_the_document_grants_what_the_project_grants() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    granted = "license" in project or list(PROJECT.glob("LICEN[CS]E*"))
    assert not granted, "name that license in the document, instead of none"
    assert DOCUMENT["info"]["license"]["identifier"] == "LicenseRef-All-Rights-Reserved"


def test_no_example_keeps_its_caller_waiting() -> None:
    """Tools try the examples, and give up after some seconds."""
    assert STORY["claim-next-task"].request["waitSeconds"] in range(1, 6)


@pytest.mark.parametrize(
    "source, targets",
    [
        ("create-task", {"get-task", "update-task", "claim-task", "list-task-history"}),
        ("create-channel", {"send-message", "join-channel", "rename-channel", "post-message"}),
        ("get-channels", {"get-messages", "get-channel-manifest", "list-channel-members"}),
        ("claim-task", {"heartbeat-run", "complete-run", "fail-run", "append-run-log", "release-run"}),
        ("claim-next-task", {"heartbeat-run", "complete-run", "get-run", "list-run-log"}),
        ("send-message", {"flag-needs-human", "get-messages", "post-message"}),
        ("post-message", {"flag-needs-human"}),
        ("create-task-record", {"get-task-record", "update-task-record", "delete-task-record"}),
        ("list-task-records", {"get-task-record"}),
        ("create-state", {"get-state", "update-state"}),
    ],
)
def test_answers_lead_on_to_what_takes_their_ids(source: str, targets: set[str]) -> None:
    judge = Judge(DOCUMENT)
    [method] = [method for _, _, method in methods() if method["operationId"] == source]
    response = judge.resolved(next(iter(method["responses"].values())))
    links = {target: judge.resolved(link) for target, link in response["links"].items()}
    assert targets <= links.keys()
    answer = next(iter(response["content"].values()))["example"]
    for target, link in links.items():
        assert link["operationId"] == target
        for expression in (link.get("parameters", {}) | link.get("requestBody", {})).values():
            value: Any = answer
            for step in expression.removeprefix("$response.body#/").split("/"):
                value = value[int(step)] if isinstance(value, list) else value[step]
            assert value


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
        ("ResolveIdentity", {"handle": "ada", "email": "ada@example.test"}, {"handle": ""}),
        ("ResolveIdentity", {"email": "ada@example.test"}, {"other": "ada"}),
        ("ListTasks", {"assigneeAgentId": "a", "assigneeUserId": "b"}, {"assigneeAgentId": ""}),
        ("CreateTasksBulk", {"tasks": [{"title": "x"}]}, {"tasks": [{"title": ""}]}),
        ("CreateTasksBulk", {"tasks": [{"title": "x"}] * 50}, {"tasks": [{"title": "x"}] * 51}),
        ("CreateTasksBulk", {"tasks": [{"title": "x"}]}, {"tasks": []}),
        ("CreateTasksBulk", {"tasks": [{"title": "x"}]}, {"tasks": "[{}]"}),
        ("PostMessage", {"channel_id": "x", "content": "y", "metadata": {"a": [{"b": None}]}},
                        {"channel_id": "x", "content": "y", "metadata": {"a": [{"b": "\0"}]}}),
        ("CreateTaskRecord", {"kind": "x", "params": {"a": 1}, "input": ["b"]}, {"kind": "x", "params": {"a\0": 1}}),
        ("CreateTaskRecord", {"kind": "x", "input": None}, {"kind": "x", "input": [{"a": ["\0"]}]}),
        ("CompleteRun", {"runId": "x", "output": {"a": 1}}, {"runId": "x", "output": "\0"}),
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
    assert (await http.post(op.path, json=good, headers=bot.headers)).status_code in {200, 201, 404}
    assert (await http.post(op.path, json=bad, headers=bot.headers)).status_code == 400


def test_a_recording_that_does_not_belong_to_the_code_is_said_to_be_stale() -> None:
    assert list(examples.stale(OPERATIONS)) == []
    story, recorded = STORY, EXAMPLES
    without = {name: told for name, told in story.items() if name != "get-me"}
    assert any("get-me is not in the story" in why for why in examples.stale(OPERATIONS, recorded, without))
    other = {**story, "get-me": Told({"more": True})}
    assert list(examples.stale(OPERATIONS, recorded, other)) == ["get-me is called another way"]
    for answer in ({**recorded["get-me"].answer["data"], "new": 1}, {}):
        of_another = replace(recorded["get-me"], answer={"data": answer})
        [why] = examples.stale(OPERATIONS, {**recorded, "get-me": of_another}, story)
        assert why.startswith("get-me answers with something else")


def test_the_judge_refuses_what_is_not_documented(by_the_book: Judge) -> None:
    body = EXAMPLES["get-task"].answer
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


def every_schema(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that could be a schema, and its place."""
    if isinstance(value, dict):
        yield where, value
        for key, inner in value.items():
            yield from every_schema(inner, f"{where}/{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from every_schema(inner, where)


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
