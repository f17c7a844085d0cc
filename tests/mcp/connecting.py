"""The official client, connected to a server over real HTTP: what every test here speaks through."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import jsonschema
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent, TextResourceContents

from app.operations import OPERATIONS
from app.rpc import Operation
from tests.conftest import Server

ERAS: Final = ("legacy", "auto")
"""How a client can open: with the handshake of all earlier versions, or without any, as since 2026-07-28."""


@asynccontextmanager
async def connected(
    server: Server, key: str, *, tools: str = "", era: str = "auto", **settings: Any
) -> AsyncGenerator[Client]:
    """A client in a session, with the tools it asks for."""
    url = f"{server.url}/mcp" + (f"?tools={tools}" if tools else "")
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=era, **settings) as client,
    ):
        yield client


class Newcomer:
    """An agent that calls nothing it was not shown, and sends nothing the tool does not take."""

    def __init__(self, client: Client, schemas: dict[str, dict[str, Any]]) -> None:
        self.client = client
        self.schemas = schemas

    async def call(self, tool: str, **arguments: object) -> CallToolResult:
        """Call a tool, which must be there and take these arguments and no others."""
        schema = {**self.schemas[tool], "additionalProperties": False}
        jsonschema.Draft202012Validator(schema).validate(arguments)
        return await self.client.call_tool(tool, arguments)

    async def ask(self, tool: str, **arguments: object) -> Any:  # Any: JSON of any shape
        """Call a tool, which must go well, and read nothing but its text."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, result
        return json.loads(text_of(result))


def named(name: str) -> Operation:
    """The operation behind a tool."""
    return next(op for op in OPERATIONS if op.name == name)


def text_of(result: CallToolResult, place: int = 0) -> str:
    """What a model reads."""
    block = result.content[place]
    assert isinstance(block, TextContent)
    return block.text


def structure_of(result: CallToolResult) -> dict[str, Any]:
    """What a program reads."""
    assert result.structured_content is not None
    return result.structured_content


def substance(value: Any) -> Any:
    """JSON without what says nothing: null, what is empty, and counts of nothing. Tools leave it out."""
    match value:
        case dict():
            inner = {key: substance(inner) for key, inner in value.items()}
            return {
                key: inner
                for key, inner in inner.items()
                if inner not in (None, "", [], {}, 0) or inner is False
            }
        case list():
            return [substance(inner) for inner in value]
        case _:
            return value


def without_names(said: Any, like: Any) -> Any:
    """What a tool said, without the `@handle`, `#channel` or `T-42` that it says beside ids and HTTP does not."""
    match said, like:
        case dict(), dict():
            added = {key for key in said if key not in like and str(said[key]).startswith(("@", "#", "T-"))}
            return {
                key: without_names(inner, like.get(key)) for key, inner in said.items() if key not in added
            }
        case [*items], [*others]:
            return [without_names(*pair) for pair in zip(items, others, strict=True)]
        case _:
            return said


async def read(client: Client, uri: str) -> str:
    """A resource of one text, which must be JSON."""
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert (content.uri, content.mime_type) == (uri, "application/json")
    return content.text


def request(method: str, params: dict[str, Any] | None = None, request_id: int = 1) -> dict[str, Any]:
    """A bare JSON-RPC request, for what the official client would never send."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    return message if params is None else {**message, "params": params}
