"""The stdio bridge, run as a client runs it: the official client starts `python -m app mcp` and talks to its stdin."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters

from app.errors import InvalidInput
from app.operations import OPERATIONS, create_task
from app.transports.mcp.bridge import endpoint
from tests.conftest import Server, World
from tests.http.conftest import at_home
from tests.mcp.connecting import ERAS, read, request, structure_of, text_of
from tests.mcp.test_every_operation import over_http, same, same_refusal, whole
from tests.mcp.test_slow_calls import Progress, cancelled_while_it_works, change, locked, until_logged

EVERY_ERA = pytest.mark.parametrize("era", ERAS)
ROOT = Path(__file__).parents[2]
NOBODY_LISTENS = "http://127.0.0.1:9"
WAIT_SECONDS = 20.0


def bridged(url: str, key: str) -> StdioServerParameters:
    """How a client is told to start the bridge."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "app", "mcp", "--url", url],
        env={"BATON_API_KEY": key},
        cwd=ROOT,
    )


def run(
    *arguments: str, lines: str | list[dict[str, Any]] = "", key: str | None = "some-key", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the bridge on a few lines and to its end."""
    environ = {name: value for name, value in os.environ.items() if name != "BATON_API_KEY"}
    if key is not None:
        environ["BATON_API_KEY"] = key
    environ |= environment
    text = lines if isinstance(lines, str) else "".join(json.dumps(line) + "\n" for line in lines)
    return subprocess.run(
        [sys.executable, "-m", "app", "mcp", *arguments],
        input=text,
        env=environ,
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=WAIT_SECONDS,
    )


@EVERY_ERA
async def test_a_client_on_stdio_has_all_that_one_on_http_has(
    server: Server, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    async with Client(bridged(f"{server.url}/mcp?tools=core,tasks", bot.api_key), mode=era) as client:
        assert "Work in this loop" in (client.instructions or "")
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert "create-tasks-bulk" in names and "verify-connection" not in names
        made = await client.call_tool("create-task", {"title": "Über stdio 👋", "assigneeAgentId": bot.id})
        assert structure_of(made)["identifier"] == "T-1"
        mine = await client.call_tool("list-my-tasks", {})
        assert [task["title"] for task in structure_of(mine)["data"]] == ["Über stdio 👋"]
        refused = await client.call_tool("create-task", {"title": ""})
        assert refused.is_error and '"field":"title"' in text_of(refused)
        assert json.loads(await read(client, "task://T-1"))["identifier"] == "T-1"
        with pytest.raises(MCPError, match="no tool `verify-connection`"):
            await client.call_tool("verify-connection", {})


async def test_every_tool_reads_and_refuses_over_stdio_as_over_http(server: Server, workspace: World) -> None:
    home = await at_home(workspace)
    async with Client(bridged(server.url, home.scout.api_key), mode="legacy") as client:
        for op in (op for op in OPERATIONS if op.family.tools):
            if op.read_only and not op.uses_up and home.caller(op) is home.scout:
                sent = whole(op, home.request(op))
                read = await client.call_tool(op.name, sent)
                http = await over_http(server, home.scout, op, sent)
                assert same(json.loads(text_of(read)), http["data"])
            if op.request.__struct_fields__:
                wrong = {op.request.__struct_encode_fields__[0]: {"neither": "this"}}
                refused = await client.call_tool(op.name, wrong)
                http = await over_http(server, home.scout, op, wrong)
                assert refused.is_error and same_refusal(op, json.loads(text_of(refused)), http["error"])


@EVERY_ERA
async def test_many_calls_at_once_each_get_their_own_answer(
    server: Server, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    async with Client(bridged(server.url, bot.api_key), mode=era) as client:

        async def create(number: int) -> None:
            made = await client.call_tool("create-task", {"title": f"Task {number}", "answer": "whole"})
            assert structure_of(made)["title"] == f"Task {number}"

        await asyncio.gather(*(create(number) for number in range(100)))


@EVERY_ERA
async def test_progress_and_cancellation_pass_through(
    server: Server, dsn: str, workspace: World, era: str
) -> None:
    bot = await workspace.agent(f"bridged-{era}")
    task = await bot(create_task, title="Contended")
    async with Client(bridged(server.url, bot.api_key), mode=era) as client, locked(dsn, task.id):
        await cancelled_while_it_works(client, "update-task", change(task, "Changed"), Progress())
        await until_logged(server, bot, "cancelled")
        assert not (await client.call_tool("get-task", {"taskId": task.id})).is_error


async def test_the_bridge_outlives_the_server(dsn: str, workspace: World) -> None:
    bot = await workspace.agent()
    first = Server(dsn)
    async with Client(bridged(first.url, bot.api_key), mode="legacy") as client:
        await client.call_tool("create-task", {"title": "Before"})
        assert first.stop() == 0
        with pytest.raises(MCPError, match=r"Baton cannot be reached at .* Is it running there"):
            await client.call_tool("create-task", {"title": "Meanwhile"})
        second = Server(dsn, PORT=first.url.rpartition(":")[2])
        assert not (await client.call_tool("create-task", {"title": "After"})).is_error
    second.stop()
    first.log.close()
    second.log.close()


async def test_a_key_that_lets_nobody_in_is_said_in_words(server: Server) -> None:
    with pytest.raises(ExceptionGroup) as refused:
        async with Client(bridged(server.url, "baton_sk_unknown"), mode="legacy"):
            pass
    assert "Invalid API key" in str(_innermost(refused.value))


def test_a_server_that_is_away_is_an_answer_and_a_line_on_stderr() -> None:
    done = run("--url", NOBODY_LISTENS, lines=[request("tools/list")])
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert (answer["id"], answer["error"]["code"]) == (1, -32000)
    assert "cannot be reached" in answer["error"]["message"]
    assert done.stderr == f"baton: {answer['error']['message']}\n"


def test_an_address_that_answers_otherwise_is_said_to() -> None:
    """A server, but not of ours: here a plain file server."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:
        assert other.stdout is not None
        port = other.stdout.readline().split("port ")[1].split()[0]
        done = run("--url", f"http://127.0.0.1:{port}", lines=[request("tools/list")])
        other.terminate()
    assert "but not as an MCP server does" in json.loads(done.stdout)["error"]["message"]


def test_lines_that_are_no_messages_are_refused_and_the_rest_goes_on(server: Server) -> None:
    done = run("--url", server.url, lines='hello\n\n[]\n{"jsonrpc":"2.0","id":5,"method":"ping"}')
    codes = {answer["id"]: answer["error"]["code"] for answer in map(json.loads, done.stdout.splitlines())}
    assert codes == {None: -32600, 5: -32600}  # the last because the key is unknown
    assert "not JSON" in done.stderr


async def test_a_byte_order_mark_before_a_line_is_skipped(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    lines = "".join("\ufeff" + json.dumps({**request("ping"), "id": id}) + "\n" for id in (1, 2))
    done = await asyncio.to_thread(run, "--url", server.url, lines=lines, key=bot.api_key, PYTHONUTF8="1")
    assert [json.loads(answer)["result"] for answer in done.stdout.splitlines()] == [{}, {}]
    assert done.stderr == ""


NO_PROXY_THERE = "http://127.0.0.1:7"


@pytest.mark.parametrize(
    "environment",
    [
        {"HTTP_PROXY": NO_PROXY_THERE},
        {"http_proxy": NO_PROXY_THERE, "NO_PROXY": ""},
        {"ALL_PROXY": "socks5://127.0.0.1:7"},
        {"all_proxy": "nonsense://"},
        {"SSL_CERT_FILE": "/nonexistent.pem"},
        {"SSL_CERT_DIR": "/nonexistent"},
    ],
    ids=str,
)
async def test_this_machine_is_called_directly_whatever_the_environment_says(
    server: Server, workspace: World, environment: dict[str, str]
) -> None:
    bot = await workspace.agent()
    done = await asyncio.to_thread(
        run, "--url", server.url, lines=[request("ping")], key=bot.api_key, **environment
    )
    assert (json.loads(done.stdout)["result"], done.stderr) == ({}, "")


@pytest.mark.parametrize(
    "name, value, url",
    [
        ("ALL_PROXY", "socks5://127.0.0.1:7", "http://baton.example"),
        ("all_proxy", "socks://127.0.0.1:7", "http://baton.example"),
        ("HTTPS_PROXY", "http://[::1", "https://baton.example"),
        ("SSL_CERT_FILE", "/nonexistent.pem", "https://baton.example"),
        ("SSL_CERT_FILE", "/nonexistent.pem", "https://127.0.0.1:9"),
        ("SSL_CERT_FILE", "/dev/null", "https://baton.example"),
        ("SSLKEYLOGFILE", "/nonexistent/log", "https://127.0.0.1:9"),
    ],
)
def test_a_variable_that_makes_a_call_impossible_is_named_in_one_line(
    name: str, value: str, url: str
) -> None:
    done = run("--url", url, lines=[request("ping")], **{name: value})
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"baton: {name} in the environment is of no use to the bridge: ")
    assert value not in line or name == "SSLKEYLOGFILE" or "socks://" in line


def test_a_proxy_that_is_away_is_named_by_its_variable() -> None:
    done = run("--url", "http://baton.example", lines=[request("ping")], HTTP_PROXY=NO_PROXY_THERE)
    assert "through the proxy that HTTP_PROXY names" in json.loads(done.stdout)["error"]["message"]
    assert len(done.stderr.splitlines()) == 1


def test_a_key_that_no_header_can_hold_is_said_in_one_line() -> None:
    for key in ("kéy", "a\nb"):
        done = run("--url", NOBODY_LISTENS, key=key)
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr == "baton: The key holds characters that no key has. See --key and BATON_API_KEY.\n"
        )


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_bridge_without_stdin_or_stdout_says_so_in_one_line(closed: str) -> None:
    command = f'"{sys.executable}" -m app mcp --url {NOBODY_LISTENS} {closed}'
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "BATON_API_KEY": "some-key"},
        cwd=ROOT,
        input="",
        capture_output=True,
        check=False,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode == 1
    assert done.stderr == "baton: The bridge speaks over stdin and stdout, and one of them is closed.\n"


def test_a_client_that_is_gone_ends_the_bridge_in_one_line() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody_reads:
        done = subprocess.run(
            [sys.executable, "-m", "app", "mcp", "--url", NOBODY_LISTENS],
            env={**os.environ, "BATON_API_KEY": "some-key"},
            cwd=ROOT,
            input=json.dumps(request("ping")) + "\n",
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
            timeout=WAIT_SECONDS,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"baton: {NOBODY_LISTENS}/mcp: the client is gone."
    assert "Traceback" not in done.stderr


def test_without_a_key_the_bridge_says_how_to_give_one() -> None:
    done = run("--url", NOBODY_LISTENS, key=None)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--key" in done.stderr and "BATON_API_KEY" in done.stderr


async def test_a_key_from_the_environment_is_in_no_list_of_processes(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "mcp", "--url", server.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "BATON_API_KEY": bot.api_key},
        cwd=ROOT,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(request("ping")).encode() + b"\n")
    assert json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT_SECONDS))["result"] == {}
    assert bot.api_key.encode() not in await asyncio.to_thread(
        Path(f"/proc/{process.pid}/cmdline").read_bytes
    )
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), WAIT_SECONDS) == 0


@pytest.mark.parametrize(
    "url, address",
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/mcp"),
        ("https://baton.example/", "https://baton.example/mcp"),
        ("http://127.0.0.1:8000?tools=core", "http://127.0.0.1:8000/mcp?tools=core"),
        ("http://127.0.0.1:8000/mcp?tools=core", "http://127.0.0.1:8000/mcp?tools=core"),
        ("https://example.org/baton/mcp", "https://example.org/baton/mcp"),
    ],
)
def test_the_address_of_a_server_is_enough(url: str, address: str) -> None:
    assert endpoint(url) == address


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "localhost", "ftp://example.org", "http://", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="is no address"):
        endpoint(url)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, ExceptionGroup):
        [error] = error.exceptions
    return error
