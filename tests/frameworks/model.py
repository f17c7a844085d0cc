"""A stand-in for a model, behind the door that frameworks knock on: OpenAI's chat completions, on loopback.

It knows the daily loop by heart and keeps nothing between requests: what comes next follows from the conversation.
So a framework's whole path is real, from the schemas it makes of our tools to the arguments it sends. A tool that is
said to be strict gets what a strict model gives: every required field, with null for what the model leaves out.
"""

import json
import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

TASK = {"title": "Mend the roof", "description": "It rains in.", "dueAt": "2027-01-01T09:00:00Z"}
CALLS = 9  # from the inbox to the finished task


class Lost(Exception):
    """The conversation is not as a model could go on with it."""


class StubModel:
    """The model, and what frameworks sent to it."""

    def __init__(self, assignee: str) -> None:
        self.assignee = assignee
        self.tools: dict[str, dict[str, Any]] = {}
        """The last schemas it was given, by the name a framework gave the tool."""
        self.failures: list[str] = []
        self.url = ""

    @contextmanager
    def serving(self) -> Generator["StubModel"]:
        """Answer on a port of its own until the end of the block."""
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                try:
                    said = model.answer(asked)
                except Exception as e:  # noqa: BLE001 - whatever it is, the test shall see it
                    model.failures.append(f"{type(e).__name__}: {e}")
                    self._send(400, "application/json", json.dumps({"error": {"message": str(e)}}))
                    return
                if asked.get("stream"):
                    self._send(200, "text/event-stream", "".join(_events(said)))
                else:
                    self._send(200, "application/json", json.dumps(said))

            def _send(self, status: int, kind: str, body: str) -> None:
                raw = body.encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            self.url = f"http://127.0.0.1:{server.server_port}/v1"
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One completion: the next call of the loop, or that the work is done."""
        if "tools" in asked:
            self.tools = {tool["function"]["name"]: tool["function"] for tool in asked["tools"]}
        heard = [_heard(message["content"]) for message in asked["messages"] if message["role"] == "tool"]
        if len(heard) >= CALLS:
            return _completion({"role": "assistant", "content": "The roof is mended."}, "stop")
        tool, arguments = self._step(heard)
        name = next((name for name in self.tools if name.replace("_", "-").endswith(tool)), None)
        if name is None:
            message = f"There is no {tool} among {sorted(self.tools)}"
            raise Lost(message)
        call = {
            "id": f"call_{uuid.uuid4().hex}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(self._written(name, arguments))},
        }
        return _completion({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")

    def _step(self, heard: list[Any]) -> tuple[str, dict[str, Any]]:  # noqa: PLR0911 - one line for each step
        """What a model does next, knowing what it has heard."""
        match len(heard):
            case 0:
                return "get-inbox", {}
            case 1:
                return "create-task", {**TASK, "assigneeAgentId": self.assignee, "priority": "high"}
            case 2:
                return "claim-next-task", {}
            case _:
                pass
        task, run = _claimed(heard[2])
        on_it = {"taskId": task["identifier"], "runId": run["id"]}
        match len(heard):
            case 3:
                return "heartbeat-run", {"runId": run["id"], "progress": 0.5, "note": "Looking for slates."}
            case 4:
                return "update-task", {**on_it, "version": task["version"], "title": "Mend the roof with tar"}
            case 5:  # as if it had forgotten that it changed the task itself
                return "update-task", {
                    **on_it,
                    "version": task["version"],
                    "title": "Mend the roof with slates",
                }
            case 6:
                if "details" not in heard[5]:
                    message = f"This is no conflict: {heard[5]}"
                    raise Lost(message)
                version = heard[5]["details"]["currentVersion"]
                change = {"title": "Mend the roof with slates", "version": version}
                return "update-task", {**on_it, **change}
            case 7:
                return "comment-on-task", {**on_it, "body": "The slates are on."}
            case _:
                return "complete-task", on_it

    def _written(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments as a model writes them that follows the schema it was given."""
        function = self.tools[name]
        schema = function["parameters"]
        if not function.get("strict"):
            left = set(schema.get("required", ())) - set(arguments)
            written = {**arguments, **dict.fromkeys(left)}
        else:
            assert schema.get("additionalProperties") is False, f"{name} is not strict"
            assert set(schema["required"]) == set(schema["properties"]), f"{name} is not strict"
            written = {**dict.fromkeys(schema["properties"]), **arguments}
        spoken = {name: field for name, field in schema["properties"].items() if not field.get("nullable")}
        jsonschema.Draft202012Validator({**schema, "properties": spoken}).validate(written)
        return written


def _heard(content: Any) -> Any:
    """What a tool said: the first JSON in it that is Baton's, however a framework has wrapped it."""
    return next(_said(content), content)


def _said(content: Any) -> Iterator[Any]:
    match content:
        case str():
            for place, character in enumerate(content):
                if character in "[{":
                    try:
                        found, _ = json.JSONDecoder().raw_decode(content[place:])
                    except ValueError:
                        continue
                    yield from _said(found)
                    break
        case {"text": str(text)}:
            yield from _said(text)
        case [{"text": _}, *_]:
            yield from _said(content[0])
        case [] | [{"task": _}, *_]:
            yield content
        case (
            {"error": str(inner)}
            | {"output": inner}
            | {"content": inner}
            | {"result": inner}
            | {"data": inner}
        ):
            yield from _said(inner)
        case dict():
            yield content
        case _:
            pass


def _claimed(heard: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    claims = heard if isinstance(heard, list) else [heard]
    if not claims or "task" not in claims[0]:
        message = f"Nothing was claimed: {heard}"
        raise Lost(message)
    return claims[0]["task"], claims[0]["run"]


def _completion(message: dict[str, Any], reason: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": 1,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _events(said: dict[str, Any]) -> Iterator[str]:
    """A completion as a stream: all in one piece, then the reason, then the end."""
    choice = said["choices"][0]
    calls = choice["message"].get("tool_calls") or []
    delta = {
        **choice["message"],
        "tool_calls": [{"index": place, **call} for place, call in enumerate(calls)],
    }
    if not calls:
        del delta["tool_calls"]
    base = {**said, "object": "chat.completion.chunk", "usage": None}
    chunks = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
        {**base, "choices": [], "usage": said["usage"]},
    ]
    yield from (f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    yield "data: [DONE]\n\n"
