"""Plays the story of the examples, and writes down what happened so that it reads the same every time."""

import re
from datetime import datetime, timedelta
from typing import Any, get_args

import httpx

from app.auth import hash_of, new_key
from app.decoding import places
from app.documents.examples import Example
from app.documents.story import (
    ADA,
    GENERAL,
    MOMENT,
    REQUEST_ID,
    SCOUT,
    STORY,
    TOKEN,
    WAITING,
    WORKSPACE,
    found,
    resolved,
)
from app.operations import OPERATIONS
from app.rpc import Operation
from app.types import Scope
from tests.conftest import World

ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WRITTEN_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
POSITION = re.compile(r"\d+(-\d+)?")  # where one is in the log, which all workspaces share
STEP_SECONDS = 300  # moments of the story are so far from each other, or they are the same
NOW_SECONDS_MAX = 3600  # a moment farther away than that was not made while the story was told


async def played(http: httpx.AsyncClient, world: World) -> dict[str, Example]:
    """Every operation called as the story says, in a workspace that fits, with ids and moments made regular."""
    keys = await _stage(world)
    operations = {op.name: op for op in OPERATIONS}
    answers: dict[str, Any] = {}
    for name, told in STORY.items():
        request = resolved(told.request, lambda of: found(answers[of.operation], of.path))
        headers = {"Authorization": f"Bearer {keys[told.by]}", "X-Request-Id": REQUEST_ID}
        response = await sent(http, operations[name], request, headers)
        assert response.status_code == operations[name].status, f"{name}: {response.text}"
        answers[name] = response.json()
    regular = _Regular()
    shown = {name: regular.value(answer) for name, answer in answers.items()}
    return {
        name: Example(
            by=told.by,
            request=resolved(told.request, lambda of: found(shown[of.operation], of.path)),
            status=operations[name].status,
            answer=shown[name],
        )
        for name, told in STORY.items()
    }


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


class _Regular:
    """Gives everything that is another each time the name it has in the story."""

    def __init__(self) -> None:
        known = (WORKSPACE, GENERAL, ADA, SCOUT, *(task_id(number) for number in WAITING))
        self._ids = {id: id for id in known}
        self._now = datetime.now().astimezone()

    def value(self, value: Any, key: str = "") -> Any:
        """JSON, as the story tells it; `key` is where it stands."""
        match value:
            case dict():
                return {self.value(name): self.value(inner, name) for name, inner in value.items()}
            case list():
                return [self.value(inner) for inner in value]
            case str() if ID.fullmatch(value):
                made = 100 + len(self._ids)
                return self._ids.setdefault(value, f"019cadf1-2e40-7000-8000-{made:012}")
            case str() if WRITTEN_MOMENT.fullmatch(value):
                return self._moment(value)
            case str() if key == "cursor" and POSITION.fullmatch(value):
                return POSITION.sub(lambda found: "4711-0" if found[1] else "4711", value)
            case _:
                return value

    def _moment(self, value: str) -> str:
        since = (datetime.fromisoformat(value) - self._now).total_seconds()
        if abs(since) > NOW_SECONDS_MAX:
            return value
        step = timedelta(seconds=STEP_SECONDS * round(since / STEP_SECONDS))
        moment = datetime.fromisoformat(MOMENT) + step
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def task_id(number: int) -> str:
    """The id of one of the tasks that waited."""
    return f"019cadf1-2e40-7000-8000-{number:012}"


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
    for number, title in WAITING.items():
        await world.rows(
            """INSERT INTO tasks (workspace_id, id, number, title, created_by_id, created_by_kind, channel_id)
               VALUES (%(acme)s::uuid, %(id)s::uuid, %(number)s, %(title)s, %(ada)s::uuid, 'user', %(general)s::uuid)
               RETURNING id""",
            **names, id=task_id(number), number=number, title=title,
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
