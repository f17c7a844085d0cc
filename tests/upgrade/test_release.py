"""What the last release wrote is still there after the upgrade, and says the same; its keys, claims and answers go on to hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app import COMMAND
from app.db import schema
from app.db.ladder import Progress
from app.embedded import EmbeddedPostgres
from tests.conftest import POSTGRES_BIN_DIR, Server
from tests.installation import Installation
from tests.upgrade.releases import DIRECTORY, database_of

PREVIOUS = schema.LADDER.released[schema.LADDER.previous]
SAID = json.loads((DIRECTORY / f"{PREVIOUS}.json").read_text())
PASSES = {
    "leaseExpiresAt",
    "lastSeenAt",
    "channelCount",
}  # what is meant to be different later: what is hidden no longer counts
TO_DO = list(schema.LADDER.pending(Progress(schema.LADDER.previous, schema.LADDER.previous, None)))

TODAY = """
UPDATE idempotency_keys SET created_at = now();
UPDATE runs SET lease_expires_at = now() + interval '1 hour', lease_check_at = now() + interval '1 hour'
 WHERE holder_id IS NOT NULL AND ended_at IS NULL;
"""
"""The fixture grows old. What a job would do about that is no matter here."""


class Client:
    """A caller of the upgraded service, with the keys of the release."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, who: str, path: str, body: Any, **headers: str) -> httpx.Response:
        method = "GET" if body is None else "POST"
        authorization = {"Authorization": f"Bearer {SAID['keys'][who]}"}
        return httpx.request(
            method, f"{self._url}{path}", json=body, headers={**authorization, **headers}, timeout=30
        )


def still_says(before: Any, now: Any, where: str = "answer") -> None:
    """All that was said is said again. There may be more fields now, but no other items."""
    if isinstance(before, dict):
        for key in before.keys() - PASSES:
            still_says(before[key], now[key], f"{where}.{key}")
    elif isinstance(before, list):
        assert len(before) == len(now), where
        for number, (one, other) in enumerate(zip(before, now, strict=True)):
            still_says(one, other, f"{where}[{number}]")
    else:
        assert before == now, where


@pytest.fixture(scope="module", params=["prepared", "complete"])
def client(request: pytest.FixtureRequest, postgres: str) -> Iterator[Client]:
    """The service on a database of the release: halfway, as in a rolling upgrade, and all the way."""
    with database_of(PREVIOUS, postgres) as dsn:
        schema.apply(dsn, ["pre"] if request.param == "prepared" else ["pre", "post"])
        with psycopg.connect(dsn) as connection:
            connection.execute(TODAY.encode())
        server = Server(dsn, IDEMPOTENCY_HOURS="24")
        yield Client(server.url)
        assert server.stop() == 0, server.stderr()
        server.close()


@pytest.mark.parametrize("read", SAID["reads"], ids=lambda read: f"{read['who']} {read['path']}")
def test_what_was_read_from_the_release_is_read_again(client: Client, read: dict[str, Any]) -> None:
    answer = client.ask(read["who"], read["path"], read["body"])
    assert answer.status_code == 200, answer.text
    now = answer.json()
    still_says(read["data"], now["data"] if read["body"] is not None else now)


@pytest.mark.parametrize("call", SAID["replays"], ids=lambda call: call["operation"])
def test_a_call_that_the_release_answered_is_answered_alike_when_sent_again(
    client: Client, call: dict[str, Any]
) -> None:
    answer = client.ask(
        call["who"], f"/v1/agent/{call['operation']}", call["body"], **{"Idempotency-Key": call["key"]}
    )
    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.json() == call["answer"]


def test_a_key_that_the_release_revoked_stays_revoked(client: Client) -> None:
    assert client.ask("revoked", "/v1/agent/get-me", {}).status_code == 401


def test_a_claim_that_was_live_goes_on_and_ends_well(client: Client) -> None:
    [run] = client.ask("scout", "/v1/agent/list-runs", {"live": True, "mine": True}).json()["data"]
    asked = {"runId": run["id"], "completeTask": True}
    done = client.ask("scout", "/v1/agent/complete-run", asked).json()["data"]
    assert (done["task"]["id"], done["task"]["status"]) == (SAID["liveTask"], "done")


def test_new_work_counts_on_from_the_old(client: Client) -> None:
    made = client.ask("builder", "/v1/agent/create-task", {"title": "After the upgrade"}).json()["data"]
    numbers = [int(task["identifier"][2:]) for read in SAID["reads"] for task in tasks_in(read["data"])]
    assert int(made["identifier"][2:]) > max(numbers)


def tasks_in(said: Any) -> Iterator[dict[str, Any]]:
    if isinstance(said, dict) and "identifier" in said:
        yield said
    for part in said.values() if isinstance(said, dict) else said if isinstance(said, list) else ():
        yield from tasks_in(part)


# --- with the embedded Postgres


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A data directory as the release left it."""
    installation = Installation(tmp_path / "data")
    with (
        EmbeddedPostgres(installation.data_dir, POSTGRES_BIN_DIR).use() as dsn,
        psycopg.connect(dsn) as connection,
    ):
        connection.execute((DIRECTORY / f"{PREVIOUS}.sql").read_bytes())
    yield installation
    installation.remove()


def dumps(installation: Installation) -> list[Path]:
    return list(installation.data_dir.glob("dumps/*"))


def test_the_embedded_database_is_dumped_and_then_migrated_by_a_start(installation: Installation) -> None:
    for _ in range(2):
        with installation.serving() as server:
            assert Client(server.url).ask("builder", "/v1/agent/get-me", {}).status_code == 200
            assert installation.ask("schema", "check")["version"] == schema.VERSION
        assert [path.suffix for path in dumps(installation)] == [".dump"] * bool(TO_DO)


def test_by_command_too(installation: Installation) -> None:
    answer = installation.ask("schema", "apply")
    assert (answer["version"], answer["applied"]) == (schema.VERSION, bool(TO_DO))
    assert len(dumps(installation)) == bool(TO_DO)


@pytest.mark.skipif(not TO_DO, reason="the schema has not changed since the last release")
def test_no_other_command_migrates(installation: Installation) -> None:
    assert f"`{COMMAND} schema apply`" in installation.refusal("workspace", "create", "other")
    assert dumps(installation) == []


# --- on a Postgres of one's own


@pytest.fixture
def released(postgres: str) -> Iterator[Installation]:
    with database_of(PREVIOUS, postgres) as dsn:
        yield Installation(Path("/nowhere"), DATABASE_URL=dsn, PORT="0")


@pytest.mark.skipif(not TO_DO, reason="the schema has not changed since the last release")
def test_a_start_migrates_nothing_and_says_which_command_does(released: Installation) -> None:
    before = released.ask("schema", "plan")
    assert f"`{COMMAND} schema apply --pre`" in released.refusal("serve")
    assert released.ask("schema", "plan") == before
    for leg in before["pending"]:
        command = leg["command"].removeprefix(f"{COMMAND} ").split()
        assert released.ask(*command)["files"] == [migration["file"] for migration in leg["files"]]
    with released.serving():
        pass


@pytest.mark.skipif(not TO_DO, reason="the schema has not changed since the last release")
def test_a_server_on_a_prepared_database_says_that_there_is_more_to_do(released: Installation) -> None:
    assert released.ask("schema", "apply", "--pre")["fits"]
    with released.serving(LOG_FORMAT="text") as server:
        assert f"`{COMMAND} schema apply --post`" in server.stderr()
    assert "schema apply --post" in released.run("schema", "check").stdout


# --- what is no release


@pytest.mark.parametrize(
    "change, named",
    [
        ("ALTER TABLE tasks DROP COLUMN failures", "table tasks is not"),
        ("ALTER TABLE messages ALTER reply_count DROP NOT NULL", "table messages is not"),
        ("ALTER TABLE runs DROP CONSTRAINT runs_claim_check", "table runs is not"),
        ("DROP INDEX tasks_ready", "index tasks_ready is not"),
        ("DROP TABLE run_log", "table run_log, index run_log_pkey are not"),
    ],
)
def test_a_database_between_releases_is_told_from_one_of_a_release(
    postgres: str, change: str, named: str
) -> None:
    with database_of(PREVIOUS, postgres) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(change.encode())
        for look in (schema.check, schema.plan, schema.ready, schema.apply):
            with pytest.raises(schema.SchemaMismatch, match=named):
                look(dsn)


def test_a_database_between_releases_is_refused_and_not_served(released: Installation) -> None:
    with psycopg.connect(released.settings["DATABASE_URL"]) as connection:
        connection.execute("ALTER TABLE tasks DROP COLUMN failures")
    for command in (("serve",), ("schema", "apply"), ("workspace", "create", "w")):
        line = released.refusal(*command)
        assert f"says schema version {schema.LADDER.previous}, but table tasks is not" in line


def test_a_check_looks_at_what_is_there_and_believes_no_fingerprint(released: Installation) -> None:
    released.ask("schema", "apply")
    with psycopg.connect(released.settings["DATABASE_URL"]) as connection:
        connection.execute("DROP INDEX tasks_ready")
    assert "index tasks_ready is not" in released.refusal("schema", "check")


def test_what_an_operator_adds_beside_it_is_no_reason_to_refuse(released: Installation) -> None:
    with psycopg.connect(released.settings["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE notes (line text)")
        connection.execute("CREATE VIEW open_tasks AS SELECT title FROM tasks WHERE is_open")
        connection.execute("CREATE INDEX mine ON tasks (workspace_id, updated_at)")
        connection.execute("ALTER TABLE tasks SET (fillfactor = 50)")
    assert released.ask("schema", "apply")["fits"]
