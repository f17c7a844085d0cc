"""Found or not at all: many clients load a tool only when their model searches for it, by words or by a pattern.

So the instructions name who calls what before anything else, and the words that an agent would use find the right tool
first. BM25 as Robertson and Zaragoza have it (The Probabilistic Relevance Framework, 2009), over what such clients index:
names, descriptions, and the names of arguments.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from app.operations import OPERATIONS
from app.transports.mcp.endpoint import instructions
from app.transports.mcp.tools import Toolbox

TOOLS = Toolbox(OPERATIONS)
SCOPES = frozenset(op.scope for op in OPERATIONS if op.scope)
INSTRUCTIONS_SHOWN_MAX = 500  # of a server's instructions, where a client shows no more

K1, B = 1.2, 0.75  # the usual ones

IN_CORE = {
    "next task": "claim-next-task",
    "take the next task to work on": "claim-next-task",
    "claim work": "claim-next-task",
    "blocked": "update-task",
    "set task blocked": "update-task",
    "review": "get-inbox",
    "set status in review": "update-task",
    "hand over to another agent handoff": "update-task",
    "done": "complete-task",
    "finish task done": "complete-task",
    "what changed": "get-inbox",
    "mentions waiting for me": "get-inbox",
    "start remember": "get-inbox",
    "comment": "comment-on-task",
    "ask a question on a task": "comment-on-task",
    "create new task": "create-task",
    "create a task that waits for another": "create-task",
    "read task comments": "get-task",
    "keep claim alive lease heartbeat": "heartbeat-run",
    "report progress": "heartbeat-run",
}
IN_ALL = {
    "next task": "claim-next-task",
    "blocked stuck": "block-task",
    "done": "complete-task",
    "what changed": "get-inbox",
    "comment on": "comment-on-task",
    "list comments": "list-comments",
    "all unread mentions": "get-unread-mentions",
    "say something in a channel": "send-message",
    "search tasks title description": "search-tasks",
    "history of a task": "list-task-history",
    "release claim run handoff": "release-run",
    "link tasks blocks": "link-tasks",
    "why can it not be claimed": "explain-task",
    "join channel": "join-channel",
    "needs human": "flag-needs-human",
    "create many tasks at once": "create-tasks-bulk",
}
SHORT = {
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
"""A word or two, as many agents search, and what they should find first in the core and in all: one of these."""

PATTERNS = {
    r"next.*task": "claim-next-task",
    r"(?i)what.*changed": "get-inbox",
    r"(?i)\bdone\b": "complete-task",
    r"(?i)comment on": "comment-on-task",
    r"(?i)create a task": "create-task",
    r"(?i)heartbeat|sign of life": "heartbeat-run",
    r"(?i)in.review": "update-task",
    r"(?i)inbox": "get-inbox",
    r"(?i)hand.*over": "update-task",
    r"(?i)assign it": "update-task",
    r"(?i)who has": "get-task",
    r"(?i)finish": "complete-task",
}
PAIRS = [
    ("send-message", "post-message"),
    ("get-channel-members", "list-channel-members"),
    ("release-task", "release-run"),
    ("complete-task", "complete-run"),
    ("get-unread-mentions", "get-inbox"),
    ("list-my-activity", "get-inbox"),
    ("list-my-tasks", "get-inbox"),
]


def listed(tools: str) -> list[dict[str, Any]]:
    return [tool.json for tool in TOOLS.shown(TOOLS.chosen(tools), SCOPES)]


def words(text: str) -> list[str]:
    """Words in lower case, without the endings that a stemmer takes."""
    return [re.sub(r"(ing|ed|s)$", "", word) for word in plain_words(text)]


def plain_words(text: str) -> list[str]:
    """Words in lower case as they stand, without single letters."""
    return [word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 1]


def indexed(tool: dict[str, Any]) -> list[str]:
    return words(" ".join([tool["name"], tool["description"], *tool["inputSchema"]["properties"]]))


def wholly_indexed(tool: dict[str, Any]) -> list[str]:
    """The same without a stemmer, and with what is said of the arguments: as unkind as such an index gets."""
    fields = tool["inputSchema"]["properties"]
    said = [field.get("description", "") for field in fields.values()]
    return plain_words(" ".join([tool["name"], tool["description"], *fields, *said]))


def found(
    query: str,
    tools: list[dict[str, Any]],
    words: Callable[[str], list[str]] = words,
    indexed: Callable[[dict[str, Any]], list[str]] = indexed,
) -> list[str]:
    """The names of tools, best first."""
    documents = {tool["name"]: indexed(tool) for tool in tools}
    mean = sum(map(len, documents.values())) / len(documents)
    counts = Counter(word for document in documents.values() for word in set(document))

    def score(document: list[str]) -> float:
        total = 0.0
        for word in words(query):
            frequency = document.count(word)
            idf = math.log(1 + (len(documents) - counts[word] + 0.5) / (counts[word] + 0.5))
            total += idf * frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * len(document) / mean))
        return total

    return sorted(documents, key=lambda name: -score(documents[name]))


@pytest.mark.parametrize("query, expected", IN_CORE.items())
def test_the_words_of_an_agent_find_the_right_tool_of_the_core_first(query: str, expected: str) -> None:
    assert found(query, listed("core"))[0] == expected, found(query, listed("core"))[:3]


@pytest.mark.parametrize("query, expected", IN_ALL.items())
def test_the_words_of_an_agent_find_the_right_one_of_all_tools_first(query: str, expected: str) -> None:
    assert found(query, listed("all"))[0] == expected, found(query, listed("all"))[:3]


@pytest.mark.parametrize("tools", ["core", "all"])
@pytest.mark.parametrize("query", SHORT)
def test_a_word_or_two_find_the_right_tool_first_even_without_a_stemmer(tools: str, query: str) -> None:
    right = {*SHORT[query].split()} & {tool["name"] for tool in listed(tools)}
    if right:
        first = found(query, listed(tools), plain_words, wholly_indexed)[:3]
        assert first[0] in right, first


@pytest.mark.parametrize("pattern, expected", PATTERNS.items())
def test_a_pattern_meets_the_right_tool_first(pattern: str, expected: str) -> None:
    for tools in ("core", "all"):
        met = next(t["name"] for t in listed(tools) if re.search(pattern, f"{t['name']} {t['description']}"))
        assert met == expected


@pytest.mark.parametrize("tools", ["core", "all"])
def test_the_instructions_say_who_calls_what_before_anything_else(tools: str) -> None:
    shown = TOOLS.shown(TOOLS.chosen(tools), SCOPES)
    beginning = instructions(TOOLS, shown)[:INSTRUCTIONS_SHOWN_MAX]
    for tool in TOOLS.shown(TOOLS.chosen("core"), SCOPES):
        assert f"{tool.name}: " in beginning, tool.name


@pytest.mark.parametrize("one, other", PAIRS)
def test_what_could_be_confused_is_told_apart_in_the_first_sentence(one: str, other: str) -> None:
    told = {tool["name"]: re.split(r"(?<=[.?!])\s", tool["description"])[0] for tool in listed("all")}
    assert other in told[one] or one in told[other]
    assert told[one] != told[other]


def test_one_word_stands_for_one_thing() -> None:
    for tool in listed("all"):
        assert "content" not in tool["inputSchema"]["properties"], tool["name"]


def test_choices_stand_in_the_order_they_have() -> None:
    [tool] = listed("update-task")
    properties = tool["inputSchema"]["properties"]
    assert properties["priority"]["enum"] == ["none", "low", "medium", "high", "urgent"]
    assert properties["status"]["enum"][:3] == ["triage", "backlog", "todo"]


def test_what_needs_no_version_asks_for_none() -> None:
    for tool in listed("all"):
        if "needs no version" in tool["description"]:
            assert "version" not in tool["inputSchema"]["properties"]
