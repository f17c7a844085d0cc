"""Fields that nobody reads are ignored, as the contract has it, and named with what was probably meant."""

import httpx
import pytest

from tests.conftest import Server, World
from tests.mcp.connecting import named

IGNORED = "baton-ignored-fields"


async def post(server: Server, key: str, name: str, body: dict[str, object]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {key}"}) as http:
        return await http.post(f"/v1/agent/{name}", json=body)


async def test_a_field_that_nobody_reads_is_named_with_the_one_that_was_meant(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    made = await post(server, bot.api_key, "create-task", {"title": "Mend it", "runID": "x", "zzz": 1})
    assert made.status_code == 200
    assert made.headers[IGNORED] == '"runID";meant="runId", "zzz"'
    plain = await post(server, bot.api_key, "create-task", {"title": "Mend it"})
    assert IGNORED not in plain.headers
    strange = await post(server, bot.api_key, "create-task", {"title": "Mend it", 'ti"tle\u2028é\\': 1})
    assert strange.headers[IGNORED] == '"ti?tle???";meant="title"'
    many = await post(server, bot.api_key, "get-me", {f"field{n}": n for n in range(1000)})
    assert len(many.headers[IGNORED]) < 1000


async def test_it_is_named_in_a_query_and_beside_a_refusal_too(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers) as http:
        listed = await http.get("/v1/agent/list-tasks", params={"limt": "3"})
        assert (listed.status_code, listed.headers[IGNORED]) == (200, '"limt";meant="limit"')
    refused = await post(server, bot.api_key, "update-task", {"taskId": "T-9", "version": 1, "titel": "x"})
    assert (refused.status_code, refused.headers[IGNORED]) == (404, '"titel";meant="title"')
    lacking = await post(server, bot.api_key, "get-task", {"taskid": "T-1"})
    assert lacking.json()["error"]["message"] == "`taskId` is required. You sent `taskid`."


async def test_the_family_that_refuses_unknown_fields_says_so_in_words(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers) as http:
        refused = await http.post(named("post-message").path, json={"contnt": "x", "channel_id": "y"})
    assert refused.status_code == 400
    assert "`content`" in refused.json()["error"]["message"]
    assert IGNORED not in refused.headers


@pytest.mark.parametrize("origin", ["http://localhost:3000"])
async def test_a_page_may_read_the_header(server: Server, workspace: World, origin: str) -> None:
    bot = await workspace.agent()
    async with httpx.AsyncClient(base_url=server.url, headers={**bot.headers, "origin": origin}) as http:
        answer = await http.post("/v1/agent/get-me", json={"x": 1})
    assert IGNORED in answer.headers["access-control-expose-headers"]
