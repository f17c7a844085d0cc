"""When the database goes away the service says so, and serves again as soon as it is back."""

import asyncio
from pathlib import Path

import httpx

from tests.apart import served_apart
from tests.http.judge import Judge


async def test_healthz_is_503_while_the_database_is_gone_and_nothing_is_lost(tmp_path: Path) -> None:
    async with (
        served_apart(tmp_path) as apart,
        httpx.AsyncClient(base_url=apart.server.url, timeout=60) as client,
    ):
        judge = Judge((await client.get("/openapi.json")).json())
        client.event_hooks = {"response": [judge]}
        client.headers.update(apart.headers)
        created = await client.post("/v1/agent/create-task", json={"title": "marker-before"})
        assert created.status_code == 200

        gone = await apart.stop_database()
        judge.judge(gone)
        assert gone.json()["error"]["code"] == "upstream_unavailable"
        assert (await client.get("/openapi.json")).status_code == 200
        for refused in await asyncio.gather(
            client.post("/v1/agent/get-me"),
            client.post("/v1/agent/create-task", json={"title": "marker-meanwhile"}),
            client.get("/v1/agent/list-tasks"),
        ):
            assert refused.status_code == 503
            assert refused.json()["error"]["retryable"] is True
            assert int(refused.headers["retry-after"]) >= 1

        assert (await apart.start_database()).json() == {"ok": True}
        tasks = (await client.get("/v1/agent/list-tasks")).json()["data"]
        assert [task["id"] for task in tasks] == [created.json()["data"]["id"]]
    log = (tmp_path / "postgres.log").read_text()
    assert "ready to accept connections" in log
    assert "marker" not in log
