"""What is installed is pinned, all of it, and no file says where from: that is for the machine to know."""

import re
import subprocess
import tomllib
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINNED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
REGISTRIES = re.compile(
    r"pypi\.(org|python)|pythonhosted|npmjs|(extra-)?index-url|find-links|registry\s*=", re.IGNORECASE
)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_are_names_with_exact_versions() -> None:
    for name, version in PINNED.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name), name
        assert re.fullmatch(r"[0-9][0-9A-Za-z.!+-]*", version), version


def test_every_dependency_and_everything_below_it_is_pinned() -> None:
    pinned = {canonical(name) for name in PINNED}
    waiting = [entry for group in GROUPS.values() for entry in group if isinstance(entry, str)]
    seen = set[str]()
    while waiting:
        requirement = waiting.pop()
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[([\w,-]+)\])?", requirement)
        assert match is not None
        name = canonical(match[1])
        if name in seen or "extra ==" in requirement or "win32" in requirement.replace("!= 'win32'", ""):
            continue
        seen.add(name)
        assert name in pinned, f"{name} is not in constraints.txt; `make lock` writes it"


def test_what_is_pinned_is_what_runs() -> None:
    assert requires("starlette") is not None


def test_no_file_names_a_package_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            text = path.read_text(errors="replace")
            assert not REGISTRIES.search(text), f"{name} names a package registry"
