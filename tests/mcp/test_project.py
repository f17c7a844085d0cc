"""A project of fifteen tasks, played by two agents that know only what the server tells them; and what that costs them.

They race for the tasks, which wait for one another. One asks and gets an answer, one hands over, one has its work looked
at; one meets a change it has not seen, one loses a claim, one loses its memory. All of it is counted: calls, refusals,
waits that nothing came of, and the bytes of text that the answers put before a model.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent

from app.operations import get_task, list_tasks, update_task
from tests.conftest import Caller, Server, World
from tests.mcp.connecting import Newcomer, connected, text_of
from tests.operations.claims import expire

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "mcp.md"

CALLS_MAX: Final = 6.0  # for each finished task; there were 13
BYTES_MAX: Final = 2_500  # for each finished task; there were 12,000
REFUSED: Final = ("complete-task: conflict", "update-task: conflict")
"""A claim that was lost, and a change that was not seen. There were 25 refusals."""
EMPTY_WAITS_MAX: Final = 0  # there were 16
PATIENCE_SECONDS: Final = 20  # of one call that waits; what it waits for comes within a second or two
PLAY_SECONDS_MAX: Final = 60  # then something hangs

Turn: TypeAlias = Literal["question", "conflict", "lost claim", "hand-over", "review", "lost memory"]
Json: TypeAlias = Any  # Any: JSON of any shape


class Planned(NamedTuple):
    """A task of the plan."""

    title: str
    description: str
    after: tuple[int, ...] = ()
    """The places, from 1, of what has to be done first."""
    found: str = ""
    """What there is to say about it when it is done."""
    turn: Turn | None = None
    """What happens to whoever does it first."""


PLAN: Final = (
    Planned(
        "Set up the repository",
        "A package `tally` for Python 3.11 with a src layout, one entry point `tally`, ruff and pytest. Nothing in it does "
        "anything yet. Continuous integration runs both on each push.",
    ),
    Planned(
        "Decide what counts as a word",
        "Is `don't` one word or two? Is `co-operate`? What about numbers? Write the answer down in docs/words.md with ten "
        "examples, which the tests of the counter then take from there.",
        (1,),
        "docs/words.md has the rule and twelve examples; the odd one is an apostrophe at the end, which is no part of a word.",
        "question",
    ),
    Planned(
        "Read text from files",
        "`read(path)` yields lines, whatever they end with. UTF-8 with or without a byte order mark; what is not valid is "
        "replaced, not refused. A file of 2 GB must not be held in memory.",
        (2,),
        "`read` yields lines in 64 KB pieces. A lone carriage return ends a line as well: old files from Macs have them.",
    ),
    Planned(
        "Count words",
        "`count(lines)` returns a Counter of words in lower case, by the rule in docs/words.md. All examples there are tests.",
        (2,),
        "Casefold instead of lower case, so that `Straße` and `STRASSE` are one word. All examples pass.",
        "conflict",
    ),
    Planned(
        "Parse the command line",
        "`tally [--top N] [--bytes] [--lines] FILE...`, with argparse. `--top` is 10 unless told. Wrong use exits with 2 and "
        "one line on stderr.",
        (2,),
    ),
    Planned(
        "Read standard input",
        "With no FILE, or with `-`, read standard input as bytes and decode it as files are. A closed pipe is no error.",
        (3,),
    ),
    Planned(
        "Count bytes and lines",
        "For `--bytes` and `--lines`. Bytes are those of the file, not of the decoded text; a last line without an end "
        "counts. It must not read the file a second time.",
        (4,),
        "Counted on the way through `read`, so one pass does for all three.",
        "lost claim",
    ),
    Planned(
        "Sum over several files",
        "Each file gets its own table and the last is the total, as with wc. Equal counts are sorted by the word itself, so "
        "that the output is the same every time.",
        (3, 4),
        "The total stands last. Sorting by (-count, word) is stable over runs.",
        "hand-over",
    ),
    Planned(
        "Say which file cannot be read",
        "A missing file or a folder: one line on stderr, the others are still counted, and the exit status is 1.",
        (3,),
        turn="review",
    ),
    Planned(
        "Print columns",
        "Counts right-aligned, words left-aligned, two spaces between. Wide characters take two columns. No colours.",
        (5,),
    ),
    Planned(
        "Measure a large file",
        "Count a file of 1 GB and write seconds and peak memory down in docs/speed.md. Less than 30 s and 50 MB is good "
        "enough; if it is not, say where the time goes.",
        (7, 8),
        "21 s and 31 MB for 1 GB; two thirds of it is the regular expression.",
    ),
    Planned(
        "Write the manual page",
        "docs/tally.1 in mdoc, with every option, the exit statuses and the rule for words. `mandoc -Tlint` says nothing.",
        (10,),
        "mandoc finds nothing. The page links to the rule for words.",
        "lost memory",
    ),
    Planned(
        "Put examples into the manual",
        "Three: the most frequent words of a file, of several, and of a pipe. Each is run by a test and compared.",
        (12,),
    ),
    Planned(
        "Build the package",
        "A wheel and an sdist, with the manual page in share/man/man1. Install both into an empty environment and run "
        "`tally --help`.",
        (6, 9, 13),
    ),
    Planned(
        "Release 0.1.0",
        "Tag it, write the changelog from the closed tasks, and publish the wheel. Then tell everybody who helped.",
        (11, 14),
        "{other} 0.1.0 is out, thank you.",
    ),
)

QUESTION: Final = (
    "is `co-operate` one word or two? I would say one: the hyphen joins. The tests of the counter hang on it."
)
ANSWER: Final = (
    "one. Hyphens and apostrophes inside a word join it, at its ends they do not. Numbers are words."
)
CHANGED_BY_ADA: Final = (
    "By the rule in docs/words.md, whose examples are tests. `count(lines)` returns a Counter."
)
TITLE_MERGED: Final = "Count words, whatever their case"
HALF: Final = "Tables for each file are done and tested. Missing: the total, and sorting equal counts. See tally/tables.py."
LOOK: Final = "Done, with tests. Please look at the message for a folder before it goes out."


class Tally:
    """What playing costs."""

    def __init__(self) -> None:
        self.calls = 0
        self.refusals: list[str] = []
        self.empty_waits = 0
        self.empty_claims = 0
        self.answers: list[tuple[str, int]] = []
        """Of each call the tool, and the bytes of all text in its answer: what a model reads."""
        self.greeting_bytes = 0
        """Of instructions, and of the tools with what they take: once for each conversation, and not among the answers."""

    def note(self, tool: str, sent: dict[str, object], result: CallToolResult) -> None:
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        assert len(texts) == len(result.content), "a model is given nothing but text"
        self.calls += 1
        self.answers.append((tool, sum(len(text.encode()) for text in texts)))
        said = json.loads(texts[0])
        if result.is_error:
            self.refusals.append(f"{tool}: {said['code']}")
        elif tool == "claim-next-task" and not said:
            self.empty_claims += 1
            self.empty_waits += "waitSeconds" in sent
        elif tool == "get-inbox" and "waitSeconds" in sent and "wokenBy" not in said:
            self.empty_waits += 1

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.answers)

    def lines(self, tasks: int) -> Iterator[str]:
        """Figures for a reader, the most expensive tools first."""
        yield (
            f"{self.calls / tasks:.1f} calls and {self.bytes / tasks:,.0f} bytes a task, {len(self.refusals)} refusals of "
            f"{self.calls} calls, {self.empty_waits} empty waits, {self.empty_claims} empty claims"
        )
        sizes: dict[str, list[int]] = {}
        for tool, size in self.answers:
            sizes.setdefault(tool, []).append(size)
        for tool, of_tool in sorted(sizes.items(), key=lambda item: -sum(item[1])):
            yield f"{tool:16} {len(of_tool):3} calls {sum(of_tool):6,} bytes, {max(of_tool):5,} at most"


class Site:
    """What happens around the agents, and what must never happen."""

    def __init__(self, workspace: World, server: Server, ada: Caller, channel_id: str) -> None:
        self.workspace = workspace
        self.channel_id = channel_id
        self.server = server
        self.ada = ada
        self.tally = Tally()
        self.planned = asyncio.Event()
        self.holders: dict[str, str] = {}
        """Who holds which task, as far as the agents have been told."""
        self._turns: dict[str, Turn | None] = {task.title: task.turn for task in PLAN}
        self._taken = defaultdict[str, asyncio.Event](asyncio.Event)

    def turn(self, title: str) -> Turn | None:
        """What happens to whoever has a task: only to the first."""
        return self._turns.pop(title, None)

    def take(self, task: Json, handle: str) -> None:
        """Note who was given a task, which nobody else may hold."""
        assert task["identifier"] not in self.holders, "two agents hold one task"
        self.holders[task["identifier"]] = handle
        self._taken[task["title"]].set()

    def leave(self, identifier: str, handle: str) -> None:
        """Note that an agent has ended its claim."""
        assert self.holders.pop(identifier) == handle

    async def taken_by_another(self, claim: Json, handle: str) -> None:
        """Let the lease of a claim run out, and return when somebody else has the task."""
        identifier = claim["task"]["identifier"]
        taken = self._taken[claim["task"]["title"]]
        self.leave(identifier, handle)
        taken.clear()
        await expire(self.workspace, claim["run"]["id"])
        await taken.wait()

    async def drop_in(self, task: Json) -> None:
        """Let somebody come by who changes a task, and go again."""
        await self.workspace.join("tally", self.ada)
        await self.ada(
            update_task, task_id=task["identifier"], version=task["version"], description=CHANGED_BY_ADA
        )
        await self.workspace.leave(self.channel_id, self.ada)


class Forgotten(Exception):
    """An agent's conversation is over, in the middle of its work."""


class Agent(Newcomer):
    """A conversation: it begins with an empty memory, and knows what it has been told since."""

    def __init__(self, site: Site, client: Client, schemas: dict[str, dict[str, Any]]) -> None:
        super().__init__(client, schemas)
        self.site = site
        self.handle = ""
        self.channel = ""
        self.other = ""
        self.cursor = ""
        self.seen: list[str] = []

    async def call(self, tool: str, **arguments: object) -> CallToolResult:
        """Call a tool that it was shown, with arguments that it was shown; and count."""
        result = await super().call(tool, **arguments)
        self.site.tally.note(tool, arguments, result)
        return result

    async def begin(self) -> Json:
        """Find out who it is, and what waits."""
        inbox = await self.ask("get-inbox")
        self.handle = inbox["you"]["handle"]
        [channel] = [channel for channel in inbox["you"]["channels"] if channel.get("members")]
        self.channel, [self.other] = f"#{channel['name']}", channel["members"]
        await self.attend(inbox)
        return inbox

    async def plan(self) -> None:
        """Write the project down."""
        made: list[str] = []
        for task in PLAN:
            waits = {"blockedBy": [made[place - 1] for place in task.after]} if task.after else {}
            created = await self.ask(
                "create-task",
                title=task.title,
                description=task.description,
                channelId=self.channel,
                **waits,
            )
            made.append(created["identifier"])

    async def work(self) -> None:
        """Take one task after the other, until what is left is in other hands and nothing waits for it."""
        while True:
            result = await self.call("claim-next-task")
            if claims := json.loads(text_of(result)):
                self.site.take(claims[0]["task"], self.handle)
                await self.do(claims[0])
            elif "tasks" in json.loads(text_of(result, 1))["waiting"]:
                while (await self.look(waitSeconds=PATIENCE_SECONDS)).get("wokenBy") == "answer":
                    continue  # somebody commented on something, which gives it nothing to do
            else:
                return

    async def look(self, **how: object) -> Json:
        """See what came, and answer it."""
        if self.seen:
            how["seen"] = self.seen
        inbox = await self.ask("get-inbox", cursor=self.cursor, **how)
        await self.attend(inbox)
        return inbox

    async def attend(self, inbox: Json) -> None:
        """Answer what is asked there, and look at what is there for review."""
        self.cursor, self.seen = inbox["cursor"], [loss["runId"] for loss in inbox.get("lostClaims", ())]
        for mention in inbox.get("mentions", ()):
            if QUESTION in mention["preview"]:
                about, asker = mention["channelName"], mention["senderHandle"]
                await self.ask("comment-on-task", taskId=about, body=f"@{asker} {ANSWER}")
        for task in inbox.get("openTasks", ()):
            if task["status"] == "in_review":
                given = await self.ask("get-task", taskId=task["identifier"])
                assert LOOK in given["handoff"]["text"]
                await self.ask("complete-task", taskId=task["identifier"])

    async def do(self, claim: Json) -> None:
        """Do what a claim is about."""
        task, run = claim["task"], claim["run"]["id"]
        turn = self.site.turn(task["title"])
        on_it: dict[str, object] = {"taskId": task["identifier"], "runId": run}
        match turn:
            case "question":
                await self.find_out(on_it)
            case "conflict":
                await self.meet_a_change(task, on_it)
            case "lost claim":
                await self.lose(claim, on_it)
                return
            case "hand-over" | "review":
                status, words = ("todo", HALF) if turn == "hand-over" else ("in_review", LOOK)
                to = f"@{self.other}"
                self.site.leave(task["identifier"], self.handle)  # before others can learn of it
                given = await self.ask(
                    "update-task",
                    **on_it,
                    version=task["version"],
                    status=status,
                    assigneeAgentId=to,
                    handoff=words,
                )
                assert given["claimEnded"]
                return
            case "lost memory":
                await self.ask("heartbeat-run", runId=run, progress=0.5, note="Options and statuses are in.")
                raise Forgotten
            case None:
                if task["title"] == "Sum over several files":
                    assert HALF in json.dumps(claim["previousRuns"], ensure_ascii=False)
        await self.finish(task, on_it)

    async def finish(self, task: Json, on_it: dict[str, object]) -> None:
        """Say what was found, if anything was, and close a task."""
        found = {planned.title: planned.found for planned in PLAN}.get(task["title"], "")
        if found:
            await self.ask("comment-on-task", **on_it, body=found.replace("{other}", f"@{self.other}"))
        self.site.leave(task["identifier"], self.handle)
        assert (await self.ask("complete-task", **on_it))["status"] == "done"

    async def find_out(self, on_it: dict[str, object]) -> None:
        """Ask the other, and wait for the answer."""
        asked = f"@{self.other} {QUESTION}"
        await self.ask("comment-on-task", **on_it, body=asked)
        while True:
            inbox = await self.look(waitSeconds=PATIENCE_SECONDS)
            if any(ANSWER in mention["preview"] for mention in inbox.get("mentions", ())):
                return

    async def meet_a_change(self, task: Json, on_it: dict[str, object]) -> None:
        """Change what somebody has changed in between, and get it right at the first try."""
        await self.site.drop_in(task)
        change = {**on_it, "title": TITLE_MERGED}
        stale = await self.call("update-task", **change, version=task["version"])
        assert stale.is_error
        facts = json.loads(text_of(stale))["details"]
        assert facts["mergeable"]
        [theirs] = facts["changed"]
        assert theirs["field"] == "description"
        assert CHANGED_BY_ADA.startswith(theirs["to"].rstrip("…"))
        await self.ask("update-task", **change, version=facts["currentVersion"])

    async def lose(self, claim: Json, on_it: dict[str, object]) -> None:
        """Be silent for so long that somebody else takes the task; then find that out."""
        await self.site.taken_by_another(claim, self.handle)
        late = await self.call("complete-task", **on_it)
        assert late.is_error
        assert json.loads(text_of(late))["details"]["reason"] == "lease_lost"
        inbox = await self.look()
        [lost] = inbox["lostClaims"]
        assert (lost["runId"], lost["holder"]) == (claim["run"]["id"], self.other)

    async def resume(self, inbox: Json) -> None:
        """Go on with what it holds, which it only knows from its inbox."""
        for claim in inbox.get("claims", ()):
            assert claim["note"] == "Options and statuses are in."
            task = await self.ask("get-task", taskId=claim["identifier"])
            assert "mandoc" in task["description"]
            await self.finish(task, {"taskId": claim["identifier"], "runId": claim["runId"]})


async def life(site: Site, key: str, *, plans: bool = False) -> int:
    """One agent, in as many conversations as it takes. Answers with their number."""
    conversations = 0
    if not plans:
        await site.planned.wait()
    while True:
        conversations += 1
        async with connected(site.server, key, tools="core") as client:
            tools = (await client.list_tools()).tools
            shown = [[tool.name, tool.description, tool.input_schema] for tool in tools]
            greeting = (client.instructions or "") + json.dumps(
                shown, ensure_ascii=False, separators=(",", ":")
            )
            site.tally.greeting_bytes = len(greeting.encode())
            assert "`@handle`" in greeting, "ids are not all it can use"
            assert "`#channel`" in greeting, "and the inbox names channels without theirs"
            agent = Agent(site, client, {tool.name: tool.input_schema for tool in tools})
            inbox = await agent.begin()
            try:
                if plans and not site.planned.is_set():
                    await agent.plan()
                    site.planned.set()
                await agent.resume(inbox)
                await agent.work()
            except Forgotten:
                continue
            return conversations


def test_the_documentation_says_what_a_task_may_cost() -> None:
    rows = re.findall(r"^\| [^|]+ \| ([\d,]+) \| ([\d,]+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    before, now = zip(*rows, strict=True)
    assert before == ("13", "12,000", "25", "16")
    assert now == (f"{CALLS_MAX:.0f}", f"{BYTES_MAX:,}", str(len(REFUSED)), str(EMPTY_WAITS_MAX))


async def test_two_agents_finish_a_project_of_fifteen_tasks_in_few_calls_and_bytes(
    server: Server, workspace: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = await workspace.user("ada")
    scout, brook = await workspace.agent("scout", channels=()), await workspace.agent("brook", channels=())
    site = Site(workspace, server, ada, await workspace.channel("tally", scout, brook))
    async with asyncio.timeout(PLAY_SECONDS_MAX), asyncio.TaskGroup() as both:
        lives = [
            both.create_task(life(site, scout.api_key, plans=True)),
            both.create_task(life(site, brook.api_key)),
        ]
    tally = site.tally
    with capsys.disabled():
        print(f"\n  {f'{chr(10)}  '.join(tally.lines(len(PLAN)))}")
        print(f"  besides, in each conversation: {tally.greeting_bytes:,} bytes of instructions and tools")

    tasks = await scout(list_tasks, limit=100)
    assert {task.title for task in tasks} == {
        TITLE_MERGED if planned.turn == "conflict" else planned.title for planned in PLAN
    }
    assert {task.status for task in tasks} == {"done"}
    counted = await scout(get_task, task_id="T-4")
    assert (counted.title, counted.description) == (TITLE_MERGED, CHANGED_BY_ADA), "both changes are there"
    assert sum(one.result() for one in lives) == 3, "one agent lost its memory, once"
    assert not site._turns.keys() - {task.title for task in PLAN if task.turn is None}, "each turn came"
    assert site.holders == {}
    at_once = await workspace.rows(
        """SELECT a.id FROM runs a
             JOIN runs b ON b.workspace_id = a.workspace_id AND b.work_item_id = a.work_item_id AND b.id > a.id
            WHERE a.workspace_id = %(workspace)s AND (a.ended_at IS NULL OR a.ended_at > b.started_at)"""
    )
    assert at_once == [], "no two claims of a task lived at once"

    assert sorted(tally.refusals) == [*REFUSED]
    assert tally.empty_waits <= EMPTY_WAITS_MAX
    assert tally.calls / len(PLAN) <= CALLS_MAX
    assert tally.bytes / len(PLAN) <= BYTES_MAX
