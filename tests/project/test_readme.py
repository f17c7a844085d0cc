"""README.md says what is so: its snippets run, its table is the settings, and what it links to is there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from app.config import Config
from tests.conftest import Server
from tests.installation import Installation

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def snippets(heading: str, language: str) -> list[str]:
    """The code blocks of a language under a heading, up to the next."""
    _, _, rest = README.partition(f" {heading}\n")
    assert rest, f"README.md has no heading {heading}"
    section = re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("readme") / "data")
    yield installation
    installation.remove()


@pytest.fixture(scope="module")
def server(installation: Installation) -> Iterator[Server]:
    """A server after its first start."""
    with installation.serving() as server:
        yield server


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    """What the first start printed."""
    [key] = set(re.findall(r"baton_sk_[\w-]+", server.output))
    return key


def execute(
    command: list[str], installation: Installation, snippet: str, *, shows_progress: bool = False
) -> str:
    """Run a snippet, which must go well."""
    environ = {"PATH": "/usr/bin:/bin:/usr/local/bin", **installation.settings}
    done = subprocess.run(
        [*command, snippet], cwd=ROOT, env=environ, capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert shows_progress == bool(done.stderr), done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_first_session_with_curl_goes_as_written(
    installation: Installation, server: Server, key: str
) -> None:
    [session] = snippets("A first session", "sh")
    session = session.replace("http://127.0.0.1:8000", server.url).replace("baton_sk_...", key)
    for identifier in ("T-1", "T-2"):  # a second time, too, and after whatever else was tried
        answers = [json.loads(line) for line in execute(["sh", "-euc"], installation, session).splitlines()]
        assert len(answers) == session.count("\ncall ")
        assert all(answer["success"] for answer in answers)
        assert answers[-1]["data"]["identifier"] == identifier
        assert answers[-1]["data"]["status"] == "done"


def test_the_first_session_with_the_sdk_goes_as_written(
    installation: Installation, server: Server, key: str
) -> None:
    [session] = snippets("A first session", "python")
    session = session.replace("http://127.0.0.1:8000", server.url).replace("baton_sk_...", key)
    execute([sys.executable, "-c"], installation, session)
    listed = httpx.get(
        f"{server.url}/v1/agent/list-my-tasks",
        params={"status": "done"},
        headers={"Authorization": f"Bearer {key}"},
    )
    assert [task["title"] for task in listed.json()["data"]] == ["Write the changelog"]


def test_a_conflict_looks_as_written(server: Server, key: str) -> None:
    [written] = snippets("How conflicts work", "json")
    with httpx.Client(
        base_url=f"{server.url}/v1/agent", headers={"Authorization": f"Bearer {key}"}
    ) as client:
        task = client.post("/create-task", json={"title": "Version 1"}).json()["data"]
        for version in (1, 2, 3):
            change = {"taskId": task["id"], "version": version, "title": f"Version {version + 1}"}
            client.post("/update-task", json=change)
        answer = client.post(
            "/update-task", json={"taskId": task["id"], "version": 3, "title": "Late"}
        ).json()
    assert matches(answer, json.loads(written))


def matches(actual: Any, written: Any) -> bool:
    """Whether an answer holds what is written, where `…` stands for anything."""
    if isinstance(written, dict):
        return all(matches(actual[key], value) for key, value in written.items())
    if isinstance(written, str):
        return re.fullmatch(re.escape(written).replace("…", ".*"), actual) is not None
    return actual == written


def test_the_operators_commands_do_what_is_written(
    installation: Installation, server: Server, tmp_path: Path
) -> None:
    session, leaving = snippets("Running it", "sh")
    first_of_builder = "$(baton key list builder --workspace acme | sed -n 's/^prefix *//p' | head -n 1)"
    session = session.replace(".venv/bin/python", sys.executable).replace(
        "baton_sk_a1B2c3D4", first_of_builder
    )
    execute(["sh", "-euc"], installation, session)
    keys = installation.ask("key", "list", "builder", "--workspace", "acme")
    assert [key["state"] for key in keys] == ["revoked", "active"]
    assert (
        keys[0]["scopes"] == keys[1]["scopes"] == ["channel-read", "channel-write", "task-read", "task-write"]
    )
    defined = session.splitlines()[0]
    leaving = leaving.replace("acme.jsonl", str(tmp_path / "acme.jsonl"))
    assert leaving.endswith("baton workspace delete acme                                    # asks first\n")
    leaving = leaving.replace("delete acme", "delete acme --yes")
    execute(["sh", "-euc"], installation, f"{defined}\n{leaving}", shows_progress=True)
    assert "acme" not in {workspace["slug"] for workspace in installation.ask("workspace", "list")}


def test_a_backup_is_made_and_restored_as_written(
    installation: Installation, server: Server, key: str, tmp_path: Path
) -> None:
    make, session = snippets("Backups", "sh")
    restore, run = session.splitlines()
    assert run == "DATA_DIR=.restored PORT=8001 make run"
    restored = Installation(tmp_path / "restored")

    def here(snippet: str) -> str:
        return (
            snippet.replace("DATA_DIR=.restored", f"DATA_DIR={restored.data_dir}")
            .replace(".venv/bin/python", sys.executable)
            .replace("baton.dump", str(tmp_path / "baton.dump"))
        )

    headers = {"Authorization": f"Bearer {key}"}
    kept = httpx.post(f"{server.url}/v1/agent/create-task", headers=headers, json={"title": "Kept"}).json()
    execute(["sh", "-euc"], installation, here(make), shows_progress=True)
    execute(["sh", "-euc"], restored, here(restore), shows_progress=True)
    with restored.serving() as other:
        ask = {"taskId": kept["data"]["id"]}
        task = httpx.post(f"{other.url}/v1/agent/get-task", headers=headers, json=ask).json()["data"]
        assert task == kept["data"]
        next = httpx.post(f"{other.url}/v1/agent/create-task", headers=headers, json={"title": "Next"}).json()
        number = int(kept["data"]["identifier"].removeprefix("T-"))
        assert next["data"]["identifier"] == f"T-{number + 1}"
    restored.remove()


def test_the_table_of_settings_is_what_the_code_reads() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*?) \|$", README, re.MULTILINE)
    written = [(name, default.strip("`"), meaning) for name, default, meaning in rows]
    assert written == [
        (field.encode_name, plain(field.default), description(field.type))
        for field in msgspec.structs.fields(Config)
    ]


def plain(default: object) -> str:
    """A default as one would set it."""
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case _:
            return str(default)


def description(annotation: object) -> str:
    info = msgspec.inspect.type_info(annotation)
    assert isinstance(info, msgspec.inspect.Metadata)
    return (info.extra_json_schema or {})["description"]


def test_the_owner_of_a_database_made_as_written_needs_no_more_rights(postgres: str) -> None:
    [make] = snippets("On your own Postgres", "sql")
    [limit] = snippets("Behind a connection pooler", "sql")
    name = "baton_readme"
    drop = f"DROP DATABASE IF EXISTS {name}; DROP ROLE IF EXISTS {name}"
    with psycopg.connect(postgres, autocommit=True) as administrator:

        def each(statements: str) -> None:
            for statement in statements.split(";"):
                if statement.strip():
                    administrator.execute(statement.encode())

        each(drop)
        try:
            each(re.sub(r"\bbaton\b", name, make + limit))
            url = make_conninfo(postgres, dbname=name, user=name, password="secret")
            installation = Installation(ROOT / "nowhere", DATABASE_URL=url)
            assert installation.ask("schema", "apply")["applied"] is True
            installation.ask("workspace", "create", "acme")
        finally:
            each(drop)


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
)
def test_what_a_page_links_to_is_there(page: str) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", (ROOT / page).read_text())  # code has brackets of its own
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "docs/guarantees.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    for path in re.findall(r"`((?:app|tests|docs|\.ci)/[\w./*-]*|schema\.sql)`", (ROOT / page).read_text()):
        assert list(ROOT.glob(path.rstrip("/"))), path


def test_every_test_that_the_page_of_guarantees_names_is_there() -> None:
    """It names them as pytest does, so that anyone can run what a sentence rests on."""
    named = re.findall(r"`(tests/[\w./]+\.py)::(\w+)`", (ROOT / "docs/guarantees.md").read_text())
    assert named
    for path, test in named:
        assert re.search(rf"^(?:async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE), (path, test)
