"""Records: /v1/tasks and /v1/states as their clients use them: sections 14 to 19, and the answers of part D."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.operations import claim_task, complete_run
from app.operations import create_task as create_work_item
from tests.conftest import Caller, Server, World
from tests.http.judge import Judge
from tests.operations.claims import everything

KEYS = [
    "id", "kind", "status", "title", "description", "targetId", "executorId", "input", "output", "params", "errors",
    "parentId", "children", "stateId", "startedAt", "endedAt", "appId", "authorId", "organizationId", "createdAt",
    "updatedAt",
]  # fmt: skip
"""The keys of the documented sample, in its order; `workItemId` is ours."""

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest_asyncio.fixture(loop_scope="session")
async def bot(workspace: World) -> Caller:
    return await workspace.agent()


@pytest_asyncio.fixture(loop_scope="session")
async def http(server: Server, bot: Caller, judge: Judge) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server; an answer that is not documented fails the test."""
    async with httpx.AsyncClient(
        base_url=server.url, headers=bot.headers, timeout=20, event_hooks={"response": [judge]}
    ) as client:
        yield client


async def created(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await http.post("/v1/tasks", json={"kind": "default", **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def put(http: httpx.AsyncClient, id: str, /, **fields: Any) -> dict[str, Any]:
    response = await http.put(f"/v1/tasks/{id}", json=fields)
    assert response.status_code == 200, response.text
    return response.json()


def refused(response: httpx.Response, status: int, code: str) -> str:
    assert (response.status_code, list(response.json())) == (status, ["code", "message"]), response.text
    assert response.json()["code"] == code
    return response.json()["message"]


async def test_the_smallest_create_answers_every_key_of_the_sample(
    http: httpx.AsyncClient, bot: Caller, workspace: World
) -> None:
    task = await created(http)
    assert list(task) == [*KEYS, "workItemId"]
    assert task == {
        **dict.fromkeys(KEYS),
        "id": task["id"],
        "kind": "default",
        "status": "created",
        "params": {},
        "errors": [],
        "children": [],
        "authorId": bot.id,
        "organizationId": workspace.id,
        "createdAt": task["createdAt"],
        "updatedAt": task["createdAt"],
        "workItemId": None,
    }
    assert MOMENT.fullmatch(task["createdAt"])


async def test_a_full_create_answers_what_was_sent(http: httpx.AsyncClient) -> None:
    sent = {
        "kind": "call_action",
        "status": "running",
        "title": "Fetch",
        "description": "all of it",
        "targetId": "reports/fetch",
        "executorId": "worker-7",
        "input": {"deep": [1, 2.5, {"x": None}], "big": 12345678901234567890},
        "output": ["any", None],
        "params": {"retries": 3},
        "startedAt": "2026-01-02T03:04:05.678Z",
        "endedAt": "2026-01-02T05:04:05+02:00",
        "appId": "app-1",
    }
    task = await created(http, **sent)
    assert {key: task[key] for key in sent} == {**sent, "endedAt": "2026-01-02T03:04:05.000Z"}


async def test_update_merges_and_null_clears(http: httpx.AsyncClient) -> None:
    task = await created(http, title="a", description="b", input=1, executorId="x", params={"a": 1})
    same = await put(http, task["id"])
    assert same == task
    changed = await put(
        http, task["id"], title="c", description=None, executorId=None, input=None, params=None
    )
    assert (changed["title"], changed["description"], changed["executorId"], changed["input"], changed["params"]) == (
        "c", None, None, None, {},
    )  # fmt: skip


async def test_params_and_errors_are_replaced_as_a_whole_and_errors_come_by_update_only(
    http: httpx.AsyncClient,
) -> None:
    task = await created(http, params={"a": 1, "b": 2}, errors=[{"code": "x", "message": "y"}])
    assert task["errors"] == []
    changed = await put(http, task["id"], params={"c": 3}, errors=[{"code": "x", "message": "y"}])
    assert (changed["params"], changed["errors"]) == ({"c": 3}, [{"code": "x", "message": "y"}])
    changed = await put(http, task["id"], errors=[])
    assert changed["errors"] == []


async def test_what_is_fixed_at_creation_and_what_comes_from_the_key_cannot_be_updated(
    http: httpx.AsyncClient,
) -> None:
    task = await created(http, targetId="t", appId="a")
    fixed = {
        "kind": "flow",
        "targetId": "u",
        "appId": "b",
        "authorId": "x",
        "organizationId": "y",
        "id": "z",
        "taskId": "q",
    }
    assert await put(http, task["id"], **fixed, unknown=1, stateful=True) == task


async def test_the_server_stamps_times_unless_the_caller_does(http: httpx.AsyncClient) -> None:
    task = await created(http)
    running = await put(http, task["id"], status="running")
    assert MOMENT.fullmatch(running["startedAt"]) and running["endedAt"] is None
    done = await put(http, task["id"], status="completed", output={"ok": True})
    assert done["startedAt"] == running["startedAt"] and MOMENT.fullmatch(done["endedAt"])
    assert done["output"] == {"ok": True}
    told = await put(http, (await created(http))["id"], status="failed", endedAt="2020-01-01T00:00:00Z")
    assert told["endedAt"] == "2020-01-01T00:00:00.000Z"
    assert (await put(http, told["id"], endedAt=None))["endedAt"] is None


@pytest.mark.parametrize(
    "status", ["created", "queued", "waiting", "running", "paused", "completed", "failed", "cancelled"]
)
async def test_every_known_status_is_taken(http: httpx.AsyncClient, status: str) -> None:
    assert (await created(http, status=status))["status"] == status


@pytest.mark.parametrize(
    "field, value",
    [
        ("kind", None),
        ("kind", ""),
        ("kind", "a b"),
        ("kind", "a\n"),
        ("kind", "x" * 65),
        ("status", "done"),
        ("title", 3),
        ("params", []),
        ("startedAt", "yesterday"),
        ("startedAt", "2026-01-01T00:00:00"),
        ("startedAt", 3),
        ("stateful", "yes"),
        ("title", "a\0b"),
        ("input", {"a\0": 1}),
    ],
)
async def test_bad_input_is_named(http: httpx.AsyncClient, field: str, value: object) -> None:
    response = await http.post("/v1/tasks", json={"kind": "default", field: value})
    message = refused(response, 400, "invalid_argument")
    assert field in message or "NUL" in message


async def test_empty_links_count_as_absent(http: httpx.AsyncClient) -> None:
    task = await created(http, parentId="", targetId="", executorId="", appId="", workItemId="")
    assert [task[key] for key in ("parentId", "targetId", "executorId", "appId", "workItemId")] == [None] * 5


async def test_children_are_nested_oldest_first(http: httpx.AsyncClient) -> None:
    root = await created(http)
    first = await created(http, parentId=root["id"], title="first")
    await created(http, parentId=root["id"], title="second")
    await created(http, parentId=first["id"], title="below")
    shown = (await http.get(f"/v1/tasks/{root['id']}")).json()
    assert [(c["title"], [g["title"] for g in c["children"]]) for c in shown["children"]] == [
        ("first", ["below"]),
        ("second", []),
    ]
    assert list(shown) == list(shown["children"][0]) == [*KEYS, "workItemId"]
    assert (await put(http, root["id"], title="x"))["children"] == shown["children"]
    [listed] = (
        await http.post(
            "/v1/tasks/list", json={"parentId": root["id"], "kind": "default", "pagination": {"limit": 1}}
        )
    ).json()
    assert listed["title"] == "second"


async def test_children_are_cut_at_a_depth_and_a_count(http: httpx.AsyncClient) -> None:
    root = await created(http)
    parent = root["id"]
    for _ in range(10):
        parent = (await created(http, parentId=parent))["id"]
    depth, node = 0, (await http.get(f"/v1/tasks/{root['id']}")).json()
    while node["children"]:
        [node] = node["children"]
        depth += 1
    assert depth == 8


async def test_a_task_cannot_be_moved_under_itself_or_what_is_below_it(http: httpx.AsyncClient) -> None:
    root = await created(http)
    child = await created(http, parentId=root["id"])
    for parent in (root, child):
        refused(
            await http.put(f"/v1/tasks/{root['id']}", json={"parentId": parent["id"]}),
            400,
            "invalid_argument",
        )
    assert (await put(http, child["id"], parentId=None))["parentId"] is None
    assert (await put(http, root["id"], parentId=child["id"]))["parentId"] == child["id"]


async def test_what_is_not_there_is_404(http: httpx.AsyncClient, other_workspace: World) -> None:
    stranger = await other_workspace.agent()
    foreign = (await http.post("/v1/tasks", json={"kind": "x"}, headers=stranger.headers)).json()["id"]
    for id in ("nonsense", "019cadf1-2e40-7000-8000-000000000042", foreign):
        refused(await http.get(f"/v1/tasks/{id}"), 404, "not_found")
        refused(await http.put(f"/v1/tasks/{id}", json={}), 404, "not_found")
        refused(await http.delete(f"/v1/tasks/{id}"), 404, "not_found")
        refused(await http.post("/v1/tasks", json={"kind": "x", "parentId": id}), 404, "not_found")
        refused(await http.get(f"/v1/states/{id}"), 404, "not_found")


async def test_errors_are_flat_also_where_no_operation_is(
    server: Server, http: httpx.AsyncClient, workspace: World
) -> None:
    reader = await workspace.agent("reader", scopes="channel-read")
    async with httpx.AsyncClient(base_url=server.url) as nobody:
        for path in ("/v1/tasks", "/v1/tasks/x", "/v1/tasks/x/y", "/v1/states"):
            refused(await nobody.get(path), 401, "unauthenticated")
            refused(
                await nobody.get(path, headers={"Authorization": "Bearer nonsense"}), 401, "unauthenticated"
            )
    refused(
        await http.post("/v1/tasks", json={"kind": "x"}, headers=reader.headers), 403, "permission_denied"
    )
    refused(await http.get("/v1/tasks/x/y"), 404, "not_found")
    async with httpx.AsyncClient(base_url=server.url, headers=http.headers) as unjudged:
        for method, path, allowed in [
            ("GET", "/v1/tasks", "POST, OPTIONS"),
            ("PATCH", "/v1/tasks/x", "GET, PUT, DELETE, HEAD, OPTIONS"),
            ("GET", "/v1/states", "POST, OPTIONS"),
            ("GET", "/v1/tasks/", "POST, OPTIONS"),
        ]:
            answer = await unjudged.request(method, path)
            refused(answer, 405, "unimplemented")
            assert set(answer.headers["allow"].split(", ")) == set(allowed.split(", "))
            assert (await unjudged.options(path)).headers["allow"] == answer.headers["allow"]
    for body in (b"{", b"[]", b"\xff", b'"x"', b"[" * 100_000, b"null"):
        refused(
            await http.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"}),
            400,
            "invalid_argument",
        )
        refused(
            await http.put("/v1/tasks/x", content=body, headers={"Content-Type": "application/json"}),
            400,
            "invalid_argument",
        )
    refused(
        await http.post("/v1/tasks", content=b"kind=x", headers={"Content-Type": "text/plain"}),
        400,
        "invalid_argument",
    )
    refused(
        await http.post("/v1/tasks", json={"kind": "x", "title": "x" * 2_000_000}), 400, "invalid_argument"
    )
    assert set((await http.get("/v1/tasksandmore")).json()) == {"success", "error", "meta"}


async def test_every_answer_has_an_etag_and_if_match_is_honoured(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/tasks", json={"kind": "x"})
    assert response.headers["etag"] == '"1"'
    url = f"/v1/tasks/{response.json()['id']}"
    first = await http.put(url, json={"title": "a"}, headers={"If-Match": '"1"'})
    assert first.headers["etag"] == '"2"'
    message = refused(await http.put(url, json={"title": "b"}, headers={"If-Match": '"1"'}), 409, "conflict")
    assert '"2"' in message
    for tag in ('"7", "2"', "*", '"2"', 'W/"2"', '"2-gzip"', 'W/"2-br"', '"7", W/"2"'):
        assert (await http.put(url, json={}, headers={"If-Match": tag})).headers["etag"] == '"2"'
    for tag in ('W/"1"', "2", "", '"x"', '"1-gzip"', '"2-more"', 'w/"2"'):
        refused(await http.put(url, json={"title": "c"}, headers={"If-Match": tag}), 409, "conflict")
    assert (await http.put(url, json={"title": "d"})).headers["etag"] == '"3"'  # the last write wins
    assert (await http.get(url)).headers["etag"] == '"3"'
    assert (await http.post("/v1/tasks/list", json={})).headers["etag"]
    refused(await http.delete(url, headers={"If-Match": '"1"'}), 409, "conflict")
    deleted = await http.delete(url, headers={"If-Match": '"3"'})
    assert deleted.json() == {"id": response.json()["id"]} and deleted.headers["etag"]
    refused(await http.get(url), 404, "not_found")


async def test_a_body_cannot_smuggle_in_what_stands_in_path_and_headers(http: httpx.AsyncClient) -> None:
    task = await created(http)
    other = await created(http)
    changed = await put(http, task["id"], taskId=other["id"], ifMatch='"9"', title="x")
    assert (changed["id"], changed["title"]) == (task["id"], "x")


async def test_lists_filter_and_page(http: httpx.AsyncClient) -> None:
    made = [("a", "e", "created"), ("b", "e", "running"), ("a", "f", "created"), ("a", "e", "created")]
    ids = [
        (await created(http, kind=kind, executorId=executor, appId="app", targetId="t", status=status))["id"]
        for kind, executor, status in made
    ]

    async def listed(**filters: Any) -> list[str]:
        response = await http.post("/v1/tasks/list", json=filters)
        assert response.status_code == 200
        return [task["id"] for task in response.json()]

    assert await listed() == ids[::-1]
    assert await listed(kind="a", executorId="e") == [ids[3], ids[0]]
    assert await listed(status="running") == [ids[1]]
    assert await listed(appId="app", targetId="t", executorId="f") == [ids[2]]
    assert await listed(parentId="nonsense") == await listed(parentId=ids[0]) == []
    assert await listed(pagination={"limit": 3}) == ids[:0:-1]
    assert await listed(pagination={"limit": 3, "cursor": ids[1]}) == [ids[0]]


async def test_deleting_takes_what_hangs_below(http: httpx.AsyncClient) -> None:
    root = await created(http, stateful=True)
    child = await created(http, parentId=root["id"])
    assert (await http.delete(f"/v1/tasks/{root['id']}")).status_code == 200
    refused(await http.get(f"/v1/tasks/{child['id']}"), 404, "not_found")
    refused(await http.get(f"/v1/states/{root['stateId']}"), 404, "not_found")


async def test_a_stateful_task_gets_a_state(http: httpx.AsyncClient, workspace: World) -> None:
    task = await created(http, stateful=True, title="Import")
    response = await http.get(f"/v1/states/{task['stateId']}")
    state = response.json()
    root: dict[str, Any] = {"id": state["rootId"], "title": "Import", "parentIds": []}
    assert state == {
        "id": task["stateId"],
        "name": "Import",
        "organizationId": workspace.id,
        "rootId": root["id"],
        "root": root,
        "scopes": {root["id"]: root},
        "groups": {},
        "tags": {},
        "variables": [],
        "createdAt": state["createdAt"],
        "updatedAt": state["createdAt"],
    }
    unnamed = await created(http, stateful=True)
    assert (await http.get(f"/v1/states/{unnamed['stateId']}")).json()["name"] == unnamed["id"]


async def test_variables_of_a_state_are_changed_under_its_version(http: httpx.AsyncClient) -> None:
    response = await http.post(
        "/v1/states", json={"name": "s", "groups": [{"title": "g"}], "tags": [{"id": "t1", "title": "t"}]}
    )
    assert (response.status_code, response.headers["etag"]) == (201, '"1"')
    state = response.json()
    [group] = state["groups"].values()
    assert state["tags"] == {"t1": {"id": "t1", "title": "t", "description": None}} and group["title"] == "g"
    url = f"/v1/states/{state['id']}"
    set_ = await http.put(
        url,
        json={"variables": [{"name": "b", "value": [1], "groupIds": [group["id"]]}, {"name": "a"}]},
        headers={"If-Match": '"1"'},
    )
    b, a = set_.json()["variables"]
    assert (b["value"], b["groupIds"], b["tags"], b["schema"], b["stateId"], b["scopeId"]) == (
        [1], [group["id"]], [], None, state["id"], state["rootId"],
    )  # fmt: skip
    assert a["value"] is None
    refused(
        await http.put(url, json={"variables": [{"name": "b", "value": 2}]}, headers={"If-Match": '"1"'}),
        409,
        "conflict",
    )
    again = (
        await http.put(
            url,
            json={"variables": [{"name": "b", "value": 2}, {"name": "c", "value": 3}], "removed": ["a", "z"]},
        )
    ).json()
    assert [(v["name"], v["value"]) for v in again["variables"]] == [("b", 2), ("c", 3)]
    assert (again["variables"][0]["id"], again["variables"][0]["createdAt"]) == (b["id"], b["createdAt"])
    assert again["variables"][0]["groupIds"] == [group["id"]]
    assert (await http.put(url, json={})).headers["etag"] == '"3"'
    refused(await http.put(url, json={"variables": [{"name": ""}]}), 400, "invalid_argument")
    many = [{"name": str(n)} for n in range(499)]
    refused(await http.put(url, json={"variables": many}), 400, "invalid_argument")


async def test_of_what_a_state_is_told_twice_the_last_counts(http: httpx.AsyncClient) -> None:
    labels = [{"id": "g", "title": "a"}, {"id": "g", "title": "b"}]
    state = (await http.post("/v1/states", json={"name": "s", "groups": labels, "tags": labels})).json()
    assert [state[kind]["g"]["title"] for kind in ("groups", "tags")] == ["b", "b"]
    twice = [{"name": "x", "value": 1}, {"name": "y", "value": 2}, {"name": "x", "value": 3}]
    written = await http.put(f"/v1/states/{state['id']}", json={"variables": twice, "removed": ["y"]})
    assert [(v["name"], v["value"]) for v in written.json()["variables"]] == [("x", 3), ("y", 2)]


async def test_both_faces_show_the_same_row(http: httpx.AsyncClient, bot: Caller) -> None:
    item = await bot(create_work_item, title="a")
    claim = await bot(claim_task, task_id=item.id)
    shown = (await http.get(f"/v1/tasks/{claim.run.id}")).json()
    assert (shown["kind"], shown["status"], shown["workItemId"]) == ("claim", "running", item.id)
    reported = await put(http, claim.run.id, output={"half": True})
    assert reported["output"] == {"half": True}
    refused(await http.put(f"/v1/tasks/{claim.run.id}", json={"status": "completed"}), 409, "conflict")
    refused(await http.delete(f"/v1/tasks/{claim.run.id}"), 409, "conflict")
    done = await bot(complete_run, run_id=claim.run.id, complete_task=True)
    assert done.run.output == {"half": True}
    refused_late(await http.put(f"/v1/tasks/{claim.run.id}", json={"output": 1}), claim)
    assert (await http.get(f"/v1/tasks/{claim.run.id}")).json()["status"] == "completed"


async def test_every_write_can_say_under_which_claim_and_is_refused_once_that_is_over(
    http: httpx.AsyncClient, bot: Caller, workspace: World
) -> None:
    await bot(create_work_item, title="a")
    claim = await bot(claim_task, task_id="T-1")
    run_id = claim.run.id
    under: dict[str, Any] = {"runId": run_id}
    task = (await http.post("/v1/tasks", json={"kind": "x", **under})).json()
    state = (await http.post("/v1/states", json={"name": "x", **under})).json()
    assert (await put(http, task["id"], title="live", **under))["title"] == "live"
    late = (
        ("POST", "/v1/tasks", {"kind": "x"}),
        ("PUT", f"/v1/tasks/{task['id']}", {"title": "late"}),
        ("POST", "/v1/states", {"name": "x"}),
        ("PUT", f"/v1/states/{state['id']}", {"variables": [{"name": "late"}]}),
    )
    await bot(complete_run, run_id=run_id)
    left = await everything(workspace)
    for method, path, fields in late:
        refused_late(await http.request(method, path, json={**fields, **under}), claim)
    refused_late(await http.delete(f"/v1/tasks/{task['id']}", params=under), claim)
    refused_late(await http.request("DELETE", f"/v1/tasks/{task['id']}", json=under), claim)
    assert await everything(workspace) == left
    for strange in ("nonsense", task["id"]):
        refused(await http.delete(f"/v1/tasks/{task['id']}", params={"runId": strange}), 404, "not_found")
    for bad in ("runId=", f"runId={run_id}&runId={run_id}", "runId=%00", "runId=%ff"):
        refused(await http.delete(f"/v1/tasks/{task['id']}?{bad}"), 400, "invalid_argument")
    again = await bot(claim_task, task_id="T-1")
    assert (await http.delete(f"/v1/tasks/{task['id']}", params={"runId": again.run.id})).status_code == 200


def refused_late(response: httpx.Response, claim: Any) -> None:
    """Refused in words, and so that a machine can tell that the claim is over."""
    assert response.status_code == 409
    sent = response.json()
    assert "begins anew" in sent.pop("message") and MOMENT.fullmatch(sent.pop("endedAt"))
    assert sent == {
        "code": "conflict",
        "reason": "lease_lost",
        "runId": claim.run.id,
        "taskId": claim.task.id,
        "endReason": "completed",
        "holder": None,
    }


async def test_a_run_of_a_work_item_is_seen_by_whoever_sees_that(
    http: httpx.AsyncClient, bot: Caller, workspace: World
) -> None:
    other = await workspace.agent("other")
    item = await bot(create_work_item, title="private")
    task = await created(http, workItemId=item.identifier)
    assert task["workItemId"] == item.id
    refused(await http.get(f"/v1/tasks/{task['id']}", headers=other.headers), 404, "not_found")
    refused(
        await http.post("/v1/tasks", json={"kind": "x", "workItemId": item.id}, headers=other.headers),
        404,
        "not_found",
    )
    assert (await http.post("/v1/tasks/list", json={}, headers=other.headers)).json() == []
    loose = await created(http)
    refused(await http.get(f"/v1/tasks/{loose['id']}", headers=other.headers), 404, "not_found")


async def test_numbers_and_text_come_back_as_they_were_sent(http: httpx.AsyncClient) -> None:
    value = {
        "float": 0.1,
        "exponent": 1e21,
        "int": 2**70,
        "text": 'ü\u2028😀\\"',
        "nested": [[[]]],
        "": {"": None},
        "true": True,
    }
    task = await created(http, input=value)
    assert json.loads(json.dumps(task["input"])) == value


def test_a_fixed_path_answers_to_its_own_verbs_only(server: Server) -> None:
    answer = httpx.options(f"{server.url}/v1/tasks/list")
    assert answer.headers["allow"] == "POST, OPTIONS", "no task is called `list`"
