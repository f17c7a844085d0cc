"""`python -m tests.upgrade.record 0.1.0` keeps a small database of a release, and what that release said of it.

It takes the release out of git, runs it, works with it over HTTP, reads everything back, and writes both beside this
file: `releases/0.1.0.sql`, a dump in plain text, and `releases/0.1.0.json`, whose keys are calls and whose values are
what they answered. Later releases must still say that. Take the oldest Postgres there is (POSTGRES_BIN), so that the
others can read the dump.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from app.embedded import EmbeddedPostgres, find_binaries
from tests.upgrade.releases import COMMITS, DIRECTORY, checked_out, serving

WORKSPACE = "acme"


def main() -> None:
    """Record one release."""
    [release] = sys.argv[1:]
    configured = os.environ.get("POSTGRES_BIN")
    bin_dir = find_binaries(Path(configured) if configured else None)
    with (
        tempfile.TemporaryDirectory(prefix="baton-record-") as directory,
        checked_out(COMMITS[release]) as checkout,
        EmbeddedPostgres(Path(directory), bin_dir).use() as dsn,
    ):
        with serving(checkout, dsn) as url:
            said = _work(checkout, dsn, url)
        dump = subprocess.run(
            [
                bin_dir / "pg_dump",
                "--inserts",
                "--rows-per-insert=50",
                "--no-owner",
                "--no-privileges",
                f"--dbname={dsn}",
            ],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
    DIRECTORY.mkdir(exist_ok=True)
    lines = [line for line in dump.splitlines() if not line.startswith(("--", "\\"))]
    (DIRECTORY / f"{release}.sql").write_text("\n".join(line for line in lines if line) + "\n")
    (DIRECTORY / f"{release}.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")


def _work(checkout: Path, dsn: str, url: str) -> dict[str, Any]:  # noqa: PLR0915 - one story, from its beginning to its end
    """Do a bit of everything, and answer with what is needed to read it back."""

    def command(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments, "--json"],
            cwd=checkout,
            env={**os.environ, "DATABASE_URL": dsn},
            capture_output=True,
            check=True,
        )
        return json.loads(done.stdout)

    command("workspace", "create", WORKSPACE)
    ada = command("user", "create", "ada", "--workspace", WORKSPACE, "--email", "ada@example.test")
    command("channel", "create", "releases", "--workspace", WORKSPACE, "--purpose", "What goes out")
    keys, ids = {"ada": ada["apiKey"]}, {"ada": ada["id"]}
    for handle, scopes in (("builder", "all"), ("scout", "all,operator"), ("reader", "read-only")):
        made = command(
            "agent", "create", handle, "--workspace", WORKSPACE, "--owner", "ada", "--channel", "releases", "--scopes", scopes
        )  # fmt: skip
        keys[handle], ids[handle] = made["apiKey"], made["id"]
    command("channel", "join", "releases", "ada", "--workspace", WORKSPACE, "--role", "admin")
    revoked = command("key", "create", "builder", "--workspace", WORKSPACE)
    command("key", "revoke", revoked["prefix"], "--workspace", WORKSPACE)

    reads: list[dict[str, Any]] = []
    replays: list[dict[str, Any]] = []
    with httpx.Client(base_url=url, timeout=60) as client:

        def sent(who: str, method: str, path: str, body: Any, **headers: str) -> httpx.Response:
            answer = client.request(
                method, path, json=body, headers={"Authorization": f"Bearer {keys[who]}", **headers}
            )
            assert answer.status_code < 300, f"{path} {body}: {answer.text}"
            return answer

        def call(who: str, operation: str, **body: Any) -> Any:
            return sent(who, "POST", f"/v1/agent/{operation}", body).json()["data"]

        def keyed(who: str, operation: str, key: str, **body: Any) -> Any:
            answer = sent(who, "POST", f"/v1/agent/{operation}", body, **{"Idempotency-Key": key}).json()
            replays.append({"who": who, "operation": operation, "key": key, "body": body, "answer": answer})
            return answer["data"]

        def read(who: str, operation: str, **body: Any) -> Any:
            answer = call(who, operation, **body)
            reads.append({"who": who, "path": f"/v1/agent/{operation}", "body": body, "data": answer})
            return answer

        call("builder", "get-me")
        channels = {channel["name"]: channel["id"] for channel in call("builder", "get-channels")}
        releases = channels["releases"]
        tasks = [
            keyed("builder", "create-task", "first", title="Fix the login page", priority="high", channelId=releases,
                  description="Its form posts to the wrong path: /login statt /anmelden, «très» 日本 🚀"),
            *call("ada", "create-tasks-bulk", tasks=[
                {"title": "Write the changelog", "channelId": releases, "priority": "urgent"},
                {"title": "Rotate the keys", "channelId": releases, "dueAt": "2027-01-31T17:00:00Z"},
                {"title": "Sweep the caches", "channelId": releases, "status": "backlog"},
                {"title": "Ada's own", "priority": "low"},
            ]),
        ]  # fmt: skip
        first, changelog, rotate, sweep, own = (task["id"] for task in tasks)
        call("ada", "create-task", title="A part of it", parentTaskId=first, channelId=releases)
        call(
            "builder",
            "update-task",
            taskId=first,
            version=1,
            assigneeAgentId=ids["builder"],
            status="in_progress",
        )
        keyed("builder", "update-task", "second", taskId=first, version=2, title="Fix the login page, please")
        keyed(
            "builder",
            "comment-on-task",
            "third",
            taskId=first,
            body="The form posts to the wrong path. @ada, may I?",
        )
        call("ada", "comment-on-task", taskId=first, body="Yes, do. @builder")
        call("builder", "block-task", taskId=first, reason="Waiting for @ada")
        call("builder", "complete-task", taskId=first)
        call("ada", "cancel-task", taskId=own, reason="Not needed")
        call("ada", "link-tasks", taskId=changelog, kind="blocks", otherTaskId=rotate)
        call("ada", "link-tasks", taskId=first, kind="related", otherTaskId=sweep)

        claimed = keyed("scout", "claim-task", "fourth", taskId=changelog, leaseSeconds=300)
        run = claimed["run"]["id"]
        call("scout", "heartbeat-run", runId=run, progress=0.5, note="Half of it is written")
        call(
            "scout",
            "append-run-log",
            runId=run,
            steps=[{"text": "Read the history"}, {"text": "Wrote a line", "data": {"n": 1}}],
        )
        call("scout", "comment-on-task", taskId=changelog, body="On it", runId=run)
        keyed("scout", "complete-run", "fifth", runId=run, output={"lines": 12}, completeTask=True)
        failed = call("scout", "claim-task", taskId=rotate, leaseSeconds=60)["run"]["id"]
        call(
            "scout",
            "fail-run",
            runId=failed,
            errors=[{"code": "no_access", "message": "The vault is closed"}],
            handoff="Ask @ada",
        )
        live = call("scout", "claim-task", taskId=sweep, leaseSeconds=300)["run"]["id"]
        call("scout", "heartbeat-run", runId=live, progress=0.1)

        said = keyed(
            "builder", "send-message", "sixth", channelId=releases, content="The login page is mended. @ada"
        )
        call("ada", "send-message", channelId=releases, content="Thank you!", threadId=said["id"])
        sent(
            "ada",
            "POST",
            "/v1/sdk/post",
            {"channel_id": releases, "content": "Out it goes", "kind": "announcement"},
        )
        call(
            "builder",
            "create-artifact",
            channelId=releases,
            name="notes.md",
            type="markdown",
            content="- login\n- caches",
        )
        call(
            "scout", "send-message", channelId=releases, content="Anybody with access to the vault? @builder"
        )
        call("builder", "flag-needs-human", messageId=said["id"], reason="Only Ada can deploy")
        call("ada", "create-channel", name="secret", type="private", purpose="For few")

        record = sent(
            "builder",
            "POST",
            "/v1/tasks",
            {"kind": "flow", "title": "A run of another kind", "stateful": True, "params": {"depth": 3}},
        ).json()
        reads.append({"who": "builder", "path": f"/v1/tasks/{record['id']}", "body": None,
                      "data": sent("builder", "GET", f"/v1/tasks/{record['id']}", None).json()})  # fmt: skip
        state = sent("builder", "POST", "/v1/states", {"name": "Memory of the builder"}).json()
        reads.append({"who": "builder", "path": f"/v1/states/{state['id']}", "body": None,
                      "data": sent("builder", "GET", f"/v1/states/{state['id']}", None).json()})  # fmt: skip

        for who in keys:
            read(who, "get-me")
            read(who, "get-channels")
            read(who, "list-tasks", channelId=releases, limit=100)
        for task in (first, changelog, rotate):
            read("builder", "get-task", taskId=task)
            read("builder", "list-comments", taskId=task)
            read("builder", "list-task-history", taskId=task, order="oldest")
            read("builder", "list-task-relations", taskId=task)
            read("builder", "list-runs", taskId=task)
        read("builder", "get-task", taskId=first, atVersion=1)
        read("ada", "get-task", taskId=own)
        read("ada", "list-my-tasks")
        read("scout", "get-run", runId=run)
        read("scout", "list-run-log", runId=run)
        read("scout", "list-my-activity")
        read("builder", "get-messages", channelId=releases, limit=100)
        read("builder", "get-unread-mentions")
        read("builder", "search-tasks", query="login")
        read("builder", "search-messages", query="vault")
        read("builder", "list-channel-members", channelId=releases)
        read("builder", "resolve-identity", handle="ada")
        read("builder", "get-workspace-info")
        for asked in replays:
            read(asked["who"], "get-request-outcome", idempotencyKey=asked["key"])
    return {
        "recordedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "keys": {**keys, "revoked": revoked["apiKey"]},
        "liveTask": sweep,
        "reads": reads,
        "replays": replays,
    }


if __name__ == "__main__":
    main()
