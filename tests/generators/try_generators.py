"""The document as strangers use it: linted, made into clients that compile strictly, and called with each of them.

`make generators` installs what is needed and runs this. It is no part of `make test`, because it takes Node and some
hundred packages.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.config import PROJECT
from tests.conftest import Caller, Server, World

HERE = Path(__file__).parent
TOOLS = PROJECT / ".cache" / "generators"
DOCUMENT = PROJECT / "docs" / "openapi.json"
SECONDS_MAX = 240

OUTCOMES = [
    ["create-task", 200, 1],
    ["update-task", 200, 2],
    ["stale", 409, 2],
    ["list-tasks", 200, 1],
    ["get-task", 200, "Try it again"],
    ["missing", 404, "not_found"],
    ["comment-on-task", 200, "Soon."],
    ["claim-next-task", 200, 1],
    ["complete-run", 200, "done"],
    ["create-task-record", 201, 3],
    ["get-inbox", 200, 0],
]
"""What each client's calls come to: the call, its status, and what it read out of the answer."""


def tool(name: str) -> str:
    """A program that `make generators` installed."""
    return str(TOOLS / "node_modules" / ".bin" / name)


@pytest.fixture(scope="module")
def there() -> Iterator[Path]:
    """A directory with the document and the calls, beside the packages of Node."""
    directory = TOOLS / "run"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(HERE / "clients", directory)
    shutil.copy(DOCUMENT, directory)
    yield directory
    shutil.rmtree(directory)


@pytest_asyncio.fixture(loop_scope="session")
async def caller(workspace: World) -> Caller:
    """An agent with nothing to do yet."""
    return await workspace.agent()


def run(*command: str, there: Path, **environ: str) -> str:
    """What a command prints. It must go well."""
    done = subprocess.run(
        command,
        cwd=there,
        env={**os.environ, "REDOCLY_TELEMETRY": "off", "CI": "true", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def called(command: tuple[str, ...], there: Path, server: Server, caller: Caller) -> list[object]:
    """What came of the calls of a client."""
    key = caller.headers["Authorization"].removeprefix("Bearer ")
    said = run(*command, there=there, BATON=server.url, KEY=key)
    return [json.loads(line) for line in said.splitlines()]


def test_redocly_finds_nothing(there: Path) -> None:
    said = run(tool("redocly"), "lint", "openapi.json", "--format=json", there=there)
    found = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert [(problem["ruleId"], problem["message"]) for problem in found["problems"]] == []


def test_spectral_finds_nothing(there: Path) -> None:
    (there / "spectral.yaml").write_text('extends: ["spectral:oas"]\n')
    run(
        tool("spectral"),
        "lint",
        "--ruleset=spectral.yaml",
        "--fail-severity=hint",
        "openapi.json",
        there=there,
    )


def test_openapi_typescript_and_openapi_fetch(there: Path, server: Server, caller: Caller) -> None:
    run(tool("openapi-typescript"), "openapi.json", "--output", "schema.d.ts", there=there)
    assert compiled_and_called("fetch", there, server, caller) == OUTCOMES


def test_hey_api(there: Path, server: Server, caller: Caller) -> None:
    run(tool("openapi-ts"), "--input", "openapi.json", "--output", "hey", there=there)
    assert compiled_and_called("hey", there, server, caller) == OUTCOMES


def test_orval(there: Path, server: Server, caller: Caller) -> None:
    run(tool("orval"), "--config", "orval.config.mjs", there=there, BATON=server.url)
    assert compiled_and_called("orval", there, server, caller) == OUTCOMES


def test_openapi_python_client(there: Path, server: Server, caller: Caller) -> None:
    python = str(TOOLS / "venv" / "bin" / "python")
    path = f"{TOOLS / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    generate = ("generate", "--path", "openapi.json", "--output-path", "generated", "--meta", "none")
    said = run(python, "-m", "openapi_python_client", *generate, "--fail-on-warning", there=there, PATH=path)
    assert "Warning" not in said, said
    # Strictly, but for the one file that is the same for every document.
    run(python, "-m", "mypy", "--strict", "--follow-imports=silent", "calls.py", there=there)
    run(python, "-m", "mypy", "generated/models", "generated/api", "--follow-imports=silent", there=there)
    assert called((python, "calls.py"), there, server, caller) == OUTCOMES
    numbered = [path.name for path in (there / "generated" / "models").iterdir() if "_type_" in path.name]
    assert numbered == [], "each of these is a shape without a name"


def compiled_and_called(client: str, there: Path, server: Server, caller: Caller) -> list[object]:
    """What came of a client's calls in TypeScript, which must compile strictly."""
    (there / f"{client}.json").write_text(
        json.dumps({"extends": "./tsconfig.json", "files": [f"{client}.ts"]})
    )
    run(tool("tsc"), "--project", f"{client}.json", there=there)
    return called(("node", f"js/{client}.js"), there, server, caller)
