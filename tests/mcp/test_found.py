"""Tools are found by clients that load them only when a model searches for them, and the right one comes first.

Two kinds of search are usual: BM25 over words, and a regular expression. Both look at names, descriptions, arguments and
what is said of those.
"""

import math
import re
from collections import Counter
from typing import Any, Final

import pytest

from app.operations import OPERATIONS
from app.transports.mcp.endpoint import instructions
from app.transports.mcp.tools import Toolbox
from tests.mcp.test_tools import named_in

OPENING_CHARACTERS: Final = 500
"""What a client that loads tools late is sure to put before its model."""

TOOLS = Toolbox(OPERATIONS)
SCOPES = frozenset(op.scope for op in OPERATIONS if op.scope)

SEARCHED: Final = {
    "next task": "claim-next-task",
    "take task": "claim-next-task",
    "claim": "claim-next-task claim-task heartbeat-run",
    "claim task": "claim-next-task claim-task",
    "inbox": "get-inbox",
    "what changed": "get-inbox",
    "start": "get-inbox",
    "get task": "get-task",
    "task details": "get-task",
    "who has": "get-task",
    "who has the task": "get-task",
    "update": "update-task",
    "update task": "update-task",
    "set status": "update-task",
    "set priority": "update-task",
    "assign": "update-task",
    "hand over": "update-task",
    "hand over task": "update-task",
    "give up task": "update-task",
    "review": "update-task get-inbox",
    "comment": "comment-on-task",
    "add comment": "comment-on-task",
    "ask question": "comment-on-task",
    "create": "create-task",
    "create task": "create-task",
    "new task": "create-task",
    "add task": "create-task",
    "done": "complete-task",
    "finish": "complete-task",
    "finish task": "complete-task",
    "mark task done": "complete-task",
    "complete task": "complete-task",
    "heartbeat": "heartbeat-run",
    "keep claim alive": "heartbeat-run",
    "report progress": "heartbeat-run",
    "blocked": "block-task explain-task update-task",
    "block task": "block-task",
    "why is task blocked": "explain-task",
    "depends": "link-tasks",
    "link tasks": "link-tasks",
    "search": "search-tasks search-messages",
    "search tasks": "search-tasks",
    "find tasks": "search-tasks",
    "search messages": "search-messages",
    "list tasks": "list-tasks",
    "my tasks": "list-my-tasks",
    "ready tasks": "list-ready-tasks",
    "cancel": "cancel-task",
    "task history": "list-task-history",
    "what happened": "list-task-history",
    "comments": "list-comments get-task",
    "who is working on what": "list-runs",
    "send message": "send-message",
    "read channel messages": "get-messages",
    "join channel": "join-channel",
    "channel members": "get-channel-members list-channel-members",
    "find user by email": "resolve-identity",
    "needs human": "flag-needs-human",
    "who are you": "get-me",
}
"""What an agent would type, and what it should find first; where either of several will do, all of them."""

PATTERNS: Final = {
    "claim": "claim-next-task",
    "next.?task": "claim-next-task",
    "inbox|changed": "get-inbox",
    "review": "get-inbox",
    "who has": "get-task",
    "update|status": "update-task",
    "hand.*over": "update-task",
    "blocked": "update-task block-task",
    "assign": "update-task",
    "comment": "comment-on-task",
    "create|new task": "create-task",
    "done|finish": "complete-task",
    "complete": "complete-task",
    "heartbeat|alive": "heartbeat-run",
    "search": "search-messages search-tasks",
    "search.*task": "search-tasks",
    "block.*task": "block-task",
    "depends": "link-tasks",
    "my.?task": "list-my-tasks",
    "history": "list-task-history",
    "message": "send-message get-messages search-messages",
}
"""The same as regular expressions."""


def listed(tools: str) -> list[dict[str, Any]]:
    return [tool.json for tool in TOOLS.shown(TOOLS.chosen(tools), SCOPES)]


def words_of(text: str) -> list[str]:
    return [word for word in re.findall("[a-z0-9]+", text.lower()) if len(word) > 1]


def told_of(tool: dict[str, Any]) -> list[str]:
    """What is searched of a tool: its name, its description, its arguments."""
    fields = tool["inputSchema"]["properties"]
    said = [f"{name} {field.get('description', '')}" for name, field in fields.items()]
    return [tool["name"], tool["description"], " ".join(said)]


def by_words(tools: list[dict[str, Any]], asked: str) -> list[str]:
    """Okapi BM25 with the usual constants: the names of the tools that fit, the best first."""
    texts = {tool["name"]: Counter(words_of(" ".join(told_of(tool)))) for tool in tools}
    usual = sum(text.total() for text in texts.values()) / len(texts)
    scores = dict.fromkeys(texts, 0.0)
    for word in words_of(asked):
        among = sum(word in text for text in texts.values())
        rare = math.log(1 + (len(texts) - among + 0.5) / (among + 0.5))
        for name, text in texts.items():
            length = 1.5 * (0.25 + 0.75 * text.total() / usual)
            scores[name] += rare * text[word] * 2.5 / (text[word] + length)
    return sorted((name for name in texts if scores[name]), key=lambda name: -scores[name])


def by_pattern(tools: list[dict[str, Any]], pattern: str) -> list[str]:
    """The tools that a regular expression fits: first those whose name it fits, then by description, then by arguments."""
    places: dict[str, int] = {}
    for place, texts in enumerate(zip(*(told_of(tool) for tool in tools), strict=True)):
        for tool, text in zip(tools, texts, strict=True):
            if re.search(pattern, text, re.IGNORECASE):
                places.setdefault(tool["name"], place)
    return sorted(places, key=lambda name: places[name])


@pytest.mark.parametrize("tools", ["core", "all"])
@pytest.mark.parametrize("asked", SEARCHED)
def test_the_words_an_agent_would_use_find_the_right_tool_first(tools: str, asked: str) -> None:
    right = {*SEARCHED[asked].split()} & {tool["name"] for tool in listed(tools)}
    if right:
        found = by_words(listed(tools), asked)
        assert found and found[0] in right, found[:5]


@pytest.mark.parametrize("tools", ["core", "all"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_finds_the_right_tool_first(tools: str, pattern: str) -> None:
    right = {*PATTERNS[pattern].split()} & {tool["name"] for tool in listed(tools)}
    if right:
        found = by_pattern(listed(tools), pattern)
        assert found and found[0] in right, found[:5]


def test_every_tool_is_found_first_by_its_own_name() -> None:
    for tool in listed("all"):
        assert by_pattern(listed("all"), f"^{tool['name']}$") == [tool["name"]]
        assert tool["name"] in by_words(listed("all"), tool["name"])[:3]


@pytest.mark.parametrize("tools", ["core", "all"])
def test_the_instructions_begin_with_what_this_is_and_what_to_call_when(tools: str) -> None:
    opening = instructions(TOOLS, TOOLS.shown(TOOLS.chosen(tools), SCOPES))[:OPENING_CHARACTERS]
    assert {tool["name"] for tool in listed("core")} <= named_in(opening)
    for word in ("Baton", "tasks", "agents"):
        assert word in opening
