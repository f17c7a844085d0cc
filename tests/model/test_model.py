"""The service against a model of it: hypothesis looks for a history in which they differ, and shortens it.

Every step is a call, a repetition, a lost answer, or several calls at once. What happened at once must be what the
model does in some order. On failure hypothesis prints the shortest history it found, as calls to the rules.
"""

import asyncio
import itertools
import json
import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.auth import Keys
from app.db import Database
from app.errors import ApiError
from app.operations import OPERATIONS
from app.operator import administration as admin
from app.rpc import Actor, Context, execute
from app.transports import envelope
from tests.model.model import Answer, Call, Model

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "30"))  # histories of up to 25 steps; more find more
STEPS = 25
TASKS_MAX = 3  # few, so that calls meet
NEW = "a new key"
AGENTS = 2
BY_NAME = {op.name: op for op in OPERATIONS}
STATUSES = ("todo", "in_progress", "in_review", "done", "cancelled")
VERBS = {"complete-task": "done", "cancel-task": "cancelled", "block-task": "blocked"}

words = st.sampled_from(["a", "b", "c"])
numbers = st.integers(0, 7)
behind = st.sampled_from([None, 0, 0, 1, 1, 2, 3])  # how many versions ago the caller read the task
keys = st.sampled_from([None, None, NEW, NEW, NEW, "k1", "k2"])
fields = st.fixed_dictionaries(
    {},
    optional={
        "title": words,
        "description": st.one_of(st.none(), words),
        "status": st.sampled_from(STATUSES),
        "priority": st.sampled_from(["none", "low", "high"]),
        "assigneeAgentId": st.one_of(st.none(), st.sampled_from(["agent 0", "agent 1"])),
    },
).filter(bool)
updates = st.tuples(st.just("update-task"), fields, st.none())
wishes = st.one_of(
    updates,
    updates,
    updates,
    st.tuples(st.sampled_from(["complete-task", "release-task"]), st.none(), st.none()),
    st.tuples(st.just("cancel-task"), st.none(), st.one_of(st.none(), words)),
    st.tuples(st.sampled_from(["block-task", "comment-on-task"]), st.none(), words),
)
requests = st.tuples(st.integers(0, AGENTS - 1), wishes, numbers, behind, st.booleans(), keys)


class Service:
    """The service, as calls of the model see it."""

    def __init__(self, dsn: str) -> None:
        self.runner = asyncio.Runner()
        self.db = self.runner.run(self._open(dsn))

    async def _open(self, dsn: str) -> Database:
        db = Database(dsn, connections_max=8, statement_timeout_seconds=10, pooler=False)
        await db.open()
        return db

    def close(self) -> None:
        self.runner.run(self.db.close())
        self.runner.close()


class World:
    """A workspace with its agents, for one history."""

    _numbers = itertools.count(1)

    def __init__(self, service: Service) -> None:
        self._service = service
        self._requests = itertools.count(1)
        self.tasks: list[str] = []
        self.actors, self.channel_id = service.runner.run(self._make())

    async def _make(self) -> tuple[list[Actor], str]:
        db, keys = self._service.db, Keys(self._service.db)
        workspace = await admin.create_workspace(db, f"model-{next(self._numbers)}")
        actors: list[Actor] = []
        for number in range(AGENTS):
            identity = await admin.create_identity(db, workspace, kind="agent", handle=f"agent-{number}")
            actors.append(await keys.actor(f"Bearer {identity.api_key}".encode()))
        [general] = await admin.find_channels(db, workspace, ["general"])
        return actors, str(general.id)

    def do(self, *calls: Call) -> list[tuple[Answer, bytes]]:
        """Send calls at once; what matters of each answer, and the answer itself."""
        return self._service.runner.run(self._all(calls))

    async def _all(self, calls: tuple[Call, ...]) -> list[tuple[Answer, bytes]]:
        return await asyncio.gather(*(self._one(call) for call in calls))

    async def _one(self, call: Call) -> tuple[Answer, bytes]:
        body = await self.send(call.caller, call.operation, self._body(call))
        answer = json.loads(body[1])
        if call.task is None and answer["success"] and answer["data"]["id"] not in self.tasks:
            self.tasks.append(answer["data"]["id"])
        return self._said(call, answer, body[2]), body[1]

    async def send(
        self, caller: int, operation: str, body: dict[str, Any]
    ) -> tuple[int, bytes, dict[bytes, bytes]]:
        request_id = f"r{next(self._requests)}"
        context = Context(self._service.db, self.actors[caller], request_id)
        try:
            said = await execute(BY_NAME[operation], context, body=json.dumps(body).encode())
            return 200, envelope.success(said, request_id), dict(envelope.headers(said))
        except ApiError as e:
            return e.status, envelope.failure(e, request_id), dict(envelope.headers(e))

    def _body(self, call: Call) -> dict[str, Any]:
        body: dict[str, Any] = {"idempotencyKey": call.key}
        if call.task is None:
            body["channelId"] = self.channel_id
        else:
            body["taskId"] = self.tasks[call.task]
        if call.operation in {"create-task", "update-task"}:
            body |= {name: self._sent(name, value) for name, value in call.fields}
        if call.comment is not None:
            body["body" if call.operation == "comment-on-task" else "reason"] = call.comment
        if call.version is not None:
            body["version"] = call.version
        if call.merge:
            body["onConflict"] = "merge"
        return body

    def _sent(self, name: str, value: Any) -> Any:
        if name == "assigneeAgentId" and value is not None:
            return str(self.actors[int(value[-1])].id)
        return value

    def _said(self, call: Call, answer: dict[str, Any], headers: dict[bytes, bytes]) -> Answer:
        """What the model would say of this answer."""
        if answer["success"] and call.operation == "comment-on-task":
            return ("comment", answer["data"]["body"])
        if answer["success"]:
            merged = headers.get(b"baton-merged-from")
            return (
                "task",
                answer["data"]["version"],
                self.seen(answer["data"]),
                None if merged is None else int(merged),
            )
        details = answer["error"].get("details", {})
        match details.get("reason"):
            case "version_conflict":
                changed = {change["field"] for change in details["changed"]}
                overlapping = {change["field"] for change in details["overlapping"]}
                current = details["current"]
                return (
                    "conflict",
                    current["version"],
                    self.seen(current),
                    details["mergeable"],
                    changed,
                    overlapping,
                )
            case "idempotency_key_reused":
                return ("key reused",)
            case "not_assigned":
                return ("not assigned",)
            case _:
                return (
                    ("not assignee",) if answer["error"]["code"] == "permission_denied" else ("error", answer)
                )

    def seen(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task as the model has it."""
        agents = {str(actor.id): f"agent {number}" for number, actor in enumerate(self.actors)}
        stamps = {name: task[name] and "a moment" for name in ("startedAt", "completedAt", "cancelledAt")}
        kept = {name: task[name] for name in ("title", "description", "status", "priority", "assigneeUserId")}
        return {**kept, **stamps, "assigneeAgentId": agents.get(task["assigneeAgentId"])}


def machine(service: Service) -> type[RuleBasedStateMachine]:  # noqa: C901 - every rule counts as a branch of it
    """A state machine on this service."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.world = World(service)
            self.model = Model()
            self.bodies: dict[tuple[int, str], tuple[Call, bytes]] = {}
            self.new_keys = itertools.count(1)

        @precondition(lambda self: len(self.model.tasks) < TASKS_MAX)
        @rule(caller=st.integers(0, AGENTS - 1), title=words, status=st.sampled_from(STATUSES[:3]), key=keys)
        def create(self, caller: int, title: str, status: str, key: str | None) -> None:
            fields = (("title", title), ("status", status))
            self.call(Call(caller, "create-task", None, fields, key=self.named(key)))

        @precondition(lambda self: self.model.tasks)
        @rule(request=requests)
        def one(self, request: Any) -> None:
            self.call(self.made(request))

        @precondition(lambda self: self.model.tasks)
        @rule(several=st.lists(requests, min_size=2, max_size=3))
        def at_once(self, several: list[Any]) -> None:
            """What happens at once happens in some order."""
            calls = [self.made(request) for request in several]
            answers = self.world.do(*calls)
            told = [answer for answer, _ in answers]
            for order in itertools.permutations(range(len(calls))):
                model = self.model.copy()
                if all(model.apply(calls[place]) == told[place] for place in order) and self.agrees(model):
                    self.model = model
                    break
            else:
                raise AssertionError(f"no order of {calls} explains {told}")
            for call, (_, body) in zip(calls, answers, strict=True):
                self.remember(call, body)

        @precondition(lambda self: self.model.tasks)
        @rule(request=requests, copies=st.integers(2, 4))
        def the_same_at_once(self, request: Any, copies: int) -> None:
            call = self.made(request)
            if call.key is not None:
                expected = self.model.apply(call)
                answers = self.world.do(*[call] * copies)
                assert [answer for answer, _ in answers] == [expected] * copies
                for _, body in answers:
                    self.remember(call, body)

        @precondition(lambda self: self.model.tasks)
        @rule(request=requests)
        def one_whose_answer_is_lost(self, request: Any) -> None:
            """It has its effect, and whoever asks for the outcome learns the answer."""
            call = self.made(request)
            expected = self.model.apply(call)
            [(answer, body)] = self.world.do(call)
            if call.key is not None and expected != ("key reused",):
                asked = {"idempotencyKey": call.key}
                sent = service.runner.run(self.world.send(call.caller, "get-request-outcome", asked))
                outcome, first = json.loads(sent[1])["data"], json.loads(body)
                assert outcome["state"] == "done"
                assert (outcome["data"], outcome["error"]) == (first.get("data"), first.get("error"))
                assert outcome["requestId"] == first["meta"]["requestId"]
                self.remember(call, body)
            assert answer == expected

        @precondition(lambda self: self.model.keys)
        @rule(which=numbers)
        def repeat(self, which: int) -> None:
            """The same request with the same key again."""
            first = [call for call, _ in self.model.keys.values()]
            self.call(first[which % len(first)])

        @precondition(lambda self: self.model.tasks)
        @rule(which=numbers, version=numbers)
        def look_back(self, which: int, version: int) -> None:
            """Every version can be seen as it was."""
            place = which % len(self.model.tasks)
            versions = self.model.tasks[place].versions
            number = version % len(versions)
            asked = {"taskId": self.world.tasks[place], "atVersion": number + 1}
            sent = service.runner.run(self.world.send(0, "get-task", asked))
            assert self.world.seen(json.loads(sent[1])["data"]) == versions[number]

        @invariant()
        def all_is_as_the_model_says(self) -> None:
            assert self.agrees(self.model)

        def call(self, call: Call) -> None:
            expected = self.model.apply(call)
            [(answer, body)] = self.world.do(call)
            assert answer == expected
            self.remember(call, body)

        def remember(self, call: Call, body: bytes) -> None:
            """The answer to a request under a key is the same, to the byte, for as long as the key is its own."""
            if call.key is None or b"idempotency_key_reused" in body:
                return
            known, first = self.bodies.get((call.caller, call.key), (call, body))
            assert first == body or known != call
            self.bodies[call.caller, call.key] = (call, body)

        def agrees(self, model: Model) -> bool:
            """Whether the histories tell what the model holds."""
            for place, task in enumerate(model.tasks):
                asked = {"taskId": self.world.tasks[place], "order": "oldest", "limit": 100}
                sent = service.runner.run(self.world.send(0, "list-task-history", asked))
                entries = json.loads(sent[1])["data"]
                changes = [entry for entry in entries if entry["kind"] != "commented"]
                comments = sorted(entry["comment"] for entry in entries if entry["kind"] == "commented")
                told = [{change["field"] for change in entry["changes"]} for entry in changes[1:]]
                if told != task.changed[1:] or comments != sorted(task.comments):
                    return False
            return True

        def named(self, key: str | None) -> str | None:
            return f"new-{next(self.new_keys)}" if key == NEW else key

        def made(self, request: Any) -> Call:
            caller, (operation, changes, comment), which, behind, merge, key = request
            key = self.named(key)
            place = which % len(self.model.tasks)
            task = self.model.tasks[place]
            version = None if behind is None else max(1, task.version - behind)
            if operation == "comment-on-task":
                return Call(caller, operation, place, comment=comment, key=key)
            if operation == "update-task":
                changes = dict(changes)
                if changes.get("assigneeAgentId", "") is not None and "assigneeAgentId" in changes:
                    changes["assigneeUserId"] = None  # as the service does: one place
                sent = tuple(sorted(changes.items()))
                return Call(caller, operation, place, sent, version or task.version, merge, None, key)
            if operation == "release-task":
                nobody = (("assigneeAgentId", None), ("assigneeUserId", None))
                return Call(
                    caller, operation, place, nobody, version, merge and version is not None, None, key
                )
            status = (("status", VERBS[operation]),)
            return Call(
                caller, operation, place, status, version, merge and version is not None, comment, key
            )

    return Machine


def test_the_service_does_what_the_model_does(dsn: str) -> None:
    service = Service(dsn)
    try:
        run_state_machine_as_test(
            machine(service),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType] -- its metaclass hides the member type
                phases=[Phase.generate, Phase.shrink],
                print_blob=True,
            ),
        )
    finally:
        service.close()
