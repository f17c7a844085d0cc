"""When the database goes away the service says so, and serves again as soon as it is back."""

from pathlib import Path

import httpx

from tests.apart import served_apart
from tests.http.judge import Judge


def test_healthz_is_503_while_the_database_is_gone_and_nothing_is_lost(tmp_path: Path) -> None:
    with served_apart(tmp_path) as apart:
        judge = Judge(httpx.get(f"{apart.server.url}/openapi.json").json())
        client = httpx.Client(
            base_url=apart.server.url,
            event_hooks={"response": [httpx.Response.read, judge.judge]},
            timeout=30,
        )
        created = client.post("/v1/agent/create-task", json={"title": "Survive"}, headers=apart.headers)

        gone = apart.stop_database()
        judge.judge(gone)
        assert gone.json()["error"]["code"] == "upstream_unavailable"
        assert client.get("/openapi.json").status_code == 200
        for path, body in (("get-me", {}), ("create-task", {"title": "In vain"}), ("list-tasks", {})):
            refused = client.post(f"/v1/agent/{path}", json=body, headers=apart.headers)
            assert refused.status_code == 503
            assert refused.json()["error"]["retryable"] is True
            assert int(refused.headers["retry-after"]) >= 1

        assert apart.start_database().json() == {"ok": True}
        tasks = client.get("/v1/agent/list-tasks", headers=apart.headers).json()["data"]
        assert [task["id"] for task in tasks] == [created.json()["data"]["id"]]
        client.close()
        log = (tmp_path / "postgres.log").read_text()
        assert "Survive" not in log and "In vain" not in log
