"""One round: callers at work on a few hot tasks, through proxies that lose things, on servers that get killed.

Every caller wants many things, one after the other. Most it wants under an idempotency key and asks for until it
has an answer, from whichever server; some it sends twice at once; some it forgets after the first failure, like an
agent that lost its memory; some it sends without a key, once. At the end the faults stop, the callers ask what
became of what they had a key for, and everything that is there is read.
"""

import asyncio
import hashlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg

from app.db import Database
from app.operator import administration as admin
from tests.conftest import Server
from tests.soak.judge import judge
from tests.soak.proxy import Proxy
from tests.soak.record import Attempt, Call, Records

SERVERS = 2  # behind one database
HOT_TASKS = 6  # for all callers together, so that they get in each other's way
TASK_CALLS = 150  # then a hot task is replaced by a new one
ATTEMPTS_MAX = 100  # of one call; a killed server is back long before
PAUSE_SECONDS_MAX = 2.0  # between attempts: 100 of them go on for more than a minute
STARTS_MAX = 30  # of a server whose connections are ended while it starts
FAULT_RATE = 0.04
ANSWER_SECONDS_MAX = 15
OUTCOMES_ASKED = 300  # at the end of a round, besides those of all calls that got no answer

STATUSES = ("todo", "in_progress", "in_review", "blocked", "done", "cancelled")
COMMENT_FIELDS = {"comment-on-task": "body", "send-message": "content", "create-artifact": "content"}
PRIORITIES = ("none", "low", "medium", "high", "urgent")


class Round:
    """One round, its records, and what was found."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.records = Records()
        self.complaints: list[str] = []
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()

    def __str__(self) -> str:
        return f"seed {self.seed}: {told(self.counts, self.answers, self.faults)}; {len(self.complaints)} complaints"


def told(counts: Counter[str], answers: Counter[str], faults: Counter[str]) -> str:
    """What happened, in a line."""
    return "; ".join(
        f"{name}: {', '.join(f'{value} {key}' for key, value in sorted(counter.items()))}"
        for name, counter in (("work", counts), ("answers", answers), ("faults", faults))
    )


class People(NamedTuple):
    """Who takes part: the ids and keys of the callers, a channel for tasks, and one in which only they speak."""

    callers: list[tuple[str, str]]
    tasks_id: str
    talk_id: str


async def new_people(dsn: str, slug: str, callers: int) -> People:
    """Make a workspace for a round."""
    db = Database(dsn, connections_max=2, statement_timeout_seconds=10, pooler=False)
    await db.open()
    workspace = await admin.create_workspace(db, slug)
    talk = await admin.create_channel(db, workspace, "talk")
    identities = [
        await admin.create_identity(
            db, workspace, kind="agent", handle=f"caller-{number}", channels=("general", talk.name)
        )
        for number in range(callers)
    ]
    [general] = await admin.find_channels(db, workspace, ["general"])
    await db.close()
    keys = [(str(identity.id), identity.api_key) for identity in identities]
    return People(keys, str(general.id), str(talk.id))


async def run_round(
    dsn: str,
    seed: int,
    *,
    callers: int,
    seconds: float,
    people: People | None = None,
    code: Path | None = None,
    meanwhile: Callable[["Stage"], Awaitable[None]] | None = None,
) -> Round:
    """Run one round in a workspace of its own, and judge it.

    The servers run this checkout, or that in `code`. `meanwhile` may do something to them while the callers work.
    """
    result = Round(seed)
    people = people or await new_people(dsn, f"soak-{seed}-{time.time_ns()}", callers)
    async with _stage(dsn, seed, people, code) as stage:
        until = time.monotonic() + seconds
        faults = asyncio.create_task(_terminate_backends(dsn, random.Random(seed), result.faults))
        work = [caller.work(until) for caller in stage.callers]
        await asyncio.gather(*work, *([meanwhile(stage)] if meanwhile else []))
        faults.cancel()
        with suppress(asyncio.CancelledError):
            await faults
        for proxy in stage.proxies:
            proxy.rate = 0.0
            result.faults.update(proxy.faults)
        for caller in stage.callers:
            await caller.ask_for_outcomes()
            result.records.calls += caller.calls
        result.records.histories = await stage.callers[0].read_histories()
        result.records.messages = await stage.callers[0].read_messages()
    _count(result)
    result.complaints = [*judge(result.records), *_given_up(result.records)]
    return result


def _given_up(records: Records) -> Iterator[str]:
    """Calls that were safe to send again, were, and never got an answer."""
    for call in records.calls:
        if call.answer is None and len(call.attempts) >= ATTEMPTS_MAX:
            seconds = call.attempts[-1].sent_at - call.began_at
            yield f"nobody answered {call.operation}, sent {len(call.attempts)} times in {seconds:.1f} s"


def _count(result: Round) -> None:
    records = result.records
    result.counts["calls"] = len(records.calls)
    result.counts["entries in histories"] = sum(map(len, records.histories.values()))
    result.counts["tasks"] = len(records.histories)
    result.counts["messages"] = len(records.messages)
    for call in records.calls:
        result.counts["attempts"] += len(call.attempts)
        for attempt in call.attempts:
            said = "replayed" if attempt.replayed else str(attempt.status or "lost")
            result.answers[said] += 1
            result.answers["merged"] += attempt.merged_from is not None


class Stage:
    """What a round plays on."""

    def __init__(self, dsn: str, code: Path | None) -> None:
        self.dsn = dsn
        self.servers: list[Server] = []
        self.code = [code] * SERVERS  # what each of them runs, from its next start on
        self._running = [code] * SERVERS  # and now
        self.keepers: list[asyncio.Task[None]] = []  # who start them again
        self._started = [asyncio.Event() for _ in range(SERVERS)]
        self.proxies: list[Proxy] = []
        self.callers: list[_Caller] = []
        self.tasks: list[str] = []  # the hot ones
        self.talk_id = ""  # the channel for messages
        self.stopping = False

    def kill(self, index: int) -> None:
        self.servers[index].process.kill()

    async def replace(self, index: int, code: Path | None) -> None:
        """Give one server time to finish, and start other code in its place."""
        self.code[index] = code
        while (
            self._running[index] != code
        ):  # it may just have been killed, and be on its way up with the old code
            self._started[index].clear()
            self.servers[index].process.terminate()
            started = asyncio.create_task(self._started[index].wait())
            await asyncio.wait([started, self.keepers[index]], return_when=asyncio.FIRST_COMPLETED)
            if self.keepers[index].done():  # it cannot be started any more
                started.cancel()
                self.keepers[index].result()

    async def keep_up(self, index: int) -> None:
        """Start a server again whenever it dies."""
        while True:
            await asyncio.to_thread(self.servers[index].process.wait)
            if self.stopping:
                return
            self.servers[index].close()
            code = self.code[index]
            self.servers[index] = await asyncio.to_thread(_server, self.dsn, code)
            self._running[index] = code
            self.proxies[index].upstream_port = _port(self.servers[index])
            self._started[index].set()


@asynccontextmanager
async def _stage(dsn: str, seed: int, people: People, code: Path | None) -> AsyncGenerator[Stage]:
    stage = Stage(dsn, code)
    stage.talk_id = people.talk_id
    for index in range(SERVERS):
        stage.servers.append(await asyncio.to_thread(_server, dsn, code))
        proxy = Proxy(seed * 100 + index, FAULT_RATE, lambda index=index: stage.kill(index))
        proxy.upstream_port = _port(stage.servers[index])
        await proxy.start()
        stage.proxies.append(proxy)
    stage.callers = [
        _Caller(stage, number, identity, people.tasks_id, random.Random(seed * 1000 + number))
        for number, identity in enumerate(people.callers)
    ]
    stage.keepers = [asyncio.create_task(stage.keep_up(index)) for index in range(SERVERS)]
    try:
        yield stage
    finally:
        stage.stopping = True
        for caller in stage.callers:
            await caller.close()
        for proxy in stage.proxies:
            await proxy.stop()
        for server in stage.servers:
            await asyncio.to_thread(server.stop)
            server.close()
        await asyncio.gather(*stage.keepers)


class _Caller:
    """An agent that writes down everything."""

    def __init__(
        self, stage: Stage, number: int, identity: tuple[str, str], channel_id: str, chosen: random.Random
    ) -> None:
        self.calls: list[Call] = []
        self._stage = stage
        self._number = number
        self._id, api_key = identity
        self._channel_id = channel_id
        self._random = chosen
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=ANSWER_SECONDS_MAX,
            limits=httpx.Limits(max_keepalive_connections=4),
        )
        self._seen: dict[str, dict[str, Any]] = {}  # what this caller last saw of each task
        self._served: Counter[str] = Counter()
        self._counter = itertools.count(1)

    async def close(self) -> None:
        await self._client.aclose()

    async def work(self, until: float) -> None:
        """Want one thing after the other."""
        while time.monotonic() < until:
            call: Call | None = self._wish()
            while call is not None:
                self.calls.append(call)
                await self._get(call)
                self._learn(call)
                call = self._corrected(call)

    async def ask_for_outcomes(self) -> None:
        """Find out what became of the calls that had a key: all that got no answer, and some of the others."""
        keyed = [call for call in self.calls if call.key is not None and not call.corrected]
        unanswered = [call for call in keyed if call.answer is None]
        some = self._random.sample(keyed, min(len(keyed), OUTCOMES_ASKED // len(self._stage.callers)))
        for call in {id(call): call for call in (*unanswered, *some)}.values():
            call.outcome = await self._read("get-request-outcome", {"idempotencyKey": call.key})

    async def read_histories(self) -> dict[str, list[dict[str, Any]]]:
        """The history of every task there is, oldest first."""
        tasks = await self._read_all("list-tasks", {"channelId": self._channel_id, "limit": 100})
        return {
            task["id"]: await self._read_all(
                "list-task-history", {"taskId": task["id"], "order": "oldest", "limit": 100}
            )
            for task in tasks
        }

    async def read_messages(self) -> list[str]:
        """What was posted where only callers post."""
        said: list[str] = []
        asked: dict[str, Any] = {"channelId": self._stage.talk_id, "limit": 100}
        while True:
            page = await self._read("get-messages", asked)
            said += [message["content"] for message in page["messages"]]
            if not page["hasMore"]:
                return said
            asked["before"] = page["messages"][-1]["id"]

    # What to want --------------------------------------------------------------------------------------

    def _wish(self) -> Call:  # noqa: PLR0911 - one for each kind of wish
        pick = self._random
        tasks = self._stage.tasks
        if len(tasks) < HOT_TASKS:
            wanted = {
                "title": self._text(),
                "priority": pick.choice(PRIORITIES),
                "channelId": self._channel_id,
            }
            return Call("create-task", None, wanted, key=self._key())
        task_id = pick.choice(tasks)
        self._served[task_id] += 1
        if self._served[task_id] > TASK_CALLS // len(self._stage.callers):
            tasks.remove(task_id)
        seen = self._seen.get(task_id)
        if seen is None or pick.random() < 0.15:
            return Call("get-task", task_id, {})
        key = self._key() if pick.random() < 0.8 else None
        if pick.random() < 0.1:
            return self._post(key)
        version = seen["version"] if pick.random() < 0.8 else None
        merge = version is not None and pick.random() < 0.5
        match pick.choices(
            ("update", "complete", "cancel", "block", "release", "comment"), (60, 6, 8, 8, 6, 12)
        )[0]:
            case "complete":
                return Call("complete-task", task_id, {"status": "done"}, version, merge, key=key)
            case "cancel":
                comment = pick.choice((None, self._text()))
                return Call("cancel-task", task_id, {"status": "cancelled"}, version, merge, comment, key)
            case "block":
                return Call("block-task", task_id, {"status": "blocked"}, version, merge, self._text(), key)
            case "release":
                nobody = {"assigneeAgentId": None, "assigneeUserId": None}
                return Call("release-task", task_id, nobody, version, merge, key=key)
            case "comment":
                return Call("comment-on-task", task_id, {}, comment=self._text(), key=key)
            case _:
                return Call("update-task", task_id, self._fields(), seen["version"], merge, key=key)

    def _post(self, key: str | None) -> Call:
        place = {"channelId": self._stage.talk_id}
        if self._random.random() < 0.5:
            return Call("send-message", None, place, comment=self._text(), key=key)
        return Call(
            "create-artifact", None, {**place, "name": "a", "type": "b"}, comment=self._text(), key=key
        )

    def _fields(self) -> dict[str, Any]:
        pick = self._random
        fields: dict[str, Any] = {
            "title": self._text(),
            "description": pick.choice((None, self._text())),
            "status": pick.choice(STATUSES),
            "priority": pick.choice(PRIORITIES),
            "assigneeAgentId": pick.choice((None, self._id)),
        }
        return {name: fields[name] for name in pick.sample(sorted(fields), pick.choice((1, 1, 2, 3)))}

    def _text(self) -> str:
        return f"{self._number}-{next(self._counter)}"

    def _key(self) -> str:
        return f"key-{self._number}-{next(self._counter)}"

    def _corrected(self, call: Call) -> Call | None:
        """The same under its key for the version that is there now, if it was refused for that; or None."""
        details = (call.answer.error or {}).get("details", {}) if call.answer is not None else {}
        if call.key is None or "currentVersion" not in details or self._random.random() < 0.5:
            return None
        call.corrected = True
        return replace(call, version=details["currentVersion"], attempts=[], corrected=False)

    # How to get it -------------------------------------------------------------------------------------

    async def _get(self, call: Call) -> None:
        """Send a call until it is answered, or as often as this caller cares to."""
        patience = ATTEMPTS_MAX if call.key is not None and self._random.random() < 0.9 else 1
        twice = call.key is not None and self._random.random() < 0.1
        while call.answer is None and len(call.attempts) < patience:
            await asyncio.gather(*(self._send(call) for _ in range(2 if twice else 1)))
            if call.answer is None:
                # A caller that pauses, as retrying ones should, ever longer: both servers may be on their way up.
                pause = min(0.02 * len(call.attempts), PAUSE_SECONDS_MAX)
                await asyncio.sleep(pause * self._random.random())
        if call.key is not None and self._random.random() < 0.05:
            await self._send(call)  # once more, though there is an answer

    async def _send(self, call: Call) -> None:
        attempt = Attempt(f"{self._number}-{next(self._counter)}-{id(call):x}", time.monotonic())
        call.attempts.append(attempt)
        headers = {"X-Request-Id": attempt.request_id}
        if call.key is not None:
            headers["Idempotency-Key"] = call.key
        proxy = self._random.choice(self._stage.proxies)
        try:
            response = await self._client.post(
                f"{proxy.url}/v1/agent/{call.operation}", json=_body(call), headers=headers
            )
            answer = response.json()
        except (httpx.HTTPError, ValueError):
            return
        attempt.answered_at = time.monotonic()
        attempt.status = response.status_code
        attempt.body = hashlib.sha256(response.content).digest()
        attempt.data, attempt.error = answer.get("data"), answer.get("error")
        attempt.merged_from = int(merged) if (merged := response.headers.get("baton-merged-from")) else None
        attempt.replayed = response.headers.get("idempotency-replayed") == "true"

    def _learn(self, call: Call) -> None:
        answer = call.answer
        if answer is None:
            return
        task = answer.data or (answer.error or {}).get("details", {}).get("current")
        if not task or "version" not in task:
            return
        known = self._seen.get(task["id"])
        if known is None or known["version"] < task["version"]:
            self._seen[task["id"]] = task
        if call.operation == "create-task" and task["id"] not in self._stage.tasks:
            self._stage.tasks.append(task["id"])

    async def _read(self, operation: str, body: dict[str, Any]) -> Any:
        """Read something, however long it takes: the faults are over, but a server may still be on its way up."""
        return (await self._page(operation, body))["data"]

    async def _read_all(self, operation: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        while True:
            answer = await self._page(operation, body)
            items += answer["data"]
            if (cursor := answer["meta"]["pagination"]["cursor"]) is None:
                return items
            body = {**body, "cursor": cursor}

    async def _page(self, operation: str, body: dict[str, Any]) -> Any:
        async with asyncio.timeout(60):
            while True:
                proxy = self._random.choice(self._stage.proxies)
                with suppress(httpx.HTTPError):
                    response = await self._client.post(f"{proxy.url}/v1/agent/{operation}", json=body)
                    if response.status_code == 200:
                        return response.json()
                await asyncio.sleep(0.05)


def _body(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = {"taskId": call.task_id} if call.task_id is not None else {}
    if call.operation in {"update-task", "create-task", "send-message", "create-artifact"}:
        body |= call.wanted
    if call.comment is not None:
        body[COMMENT_FIELDS.get(call.operation, "reason")] = call.comment
    if call.version is not None:
        body["version"] = call.version
    if call.merge:
        body["onConflict"] = "merge"
    return body


async def _terminate_backends(dsn: str, pick: random.Random, faults: Counter[str]) -> None:
    """Now and then end a few of the database's connections, whatever they are doing."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while True:
            await asyncio.sleep(pick.uniform(0.2, 0.8))
            ended = await connection.execute(
                """
                SELECT pg_terminate_backend(pid)
                  FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user
                 ORDER BY (state = 'active') DESC, random()
                 LIMIT %s
                """,
                [pick.choice((1, 1, 2, 20))],
            )
            faults["backends terminated"] += ended.rowcount


def _server(dsn: str, code: Path | None) -> Server:
    """A running server. One whose connection is ended while it starts gives up, and is started again."""
    for _ in range(STARTS_MAX - 1):
        with suppress(AssertionError):
            return Server(dsn, code, LOG_LEVEL="error")
    return Server(dsn, code, LOG_LEVEL="error")


def _port(server: Server) -> int:
    return httpx.URL(server.url).port or 80
