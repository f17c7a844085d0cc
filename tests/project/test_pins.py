"""What is installed is pinned, and no file says where from: that is for each machine to know."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINNED = dict(line.split("==") for line in LINES if line and not line.startswith("#"))
REGISTRIES = re.compile(r"pypi\.|pythonhosted|npmjs|index-url|find-links|registry\s*=", re.IGNORECASE)
NOT_OURS = {".venv", ".data", ".cache", ".git", ".hypothesis", ".schemathesis", "__pycache__", "node_modules"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_are_names_with_exact_versions() -> None:
    for name, pin in PINNED.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name), name
        assert re.fullmatch(r"[0-9][0-9A-Za-z.!+-]*", pin), pin


def test_every_direct_dependency_is_pinned() -> None:
    pinned = {canonical(name) for name in PINNED}
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    for requirement in (entry for group in groups.values() for entry in group if isinstance(entry, str)):
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        assert canonical(name) in pinned, f"{name} is not in constraints.txt; `make lock` writes it"


def test_these_tests_run_on_what_is_pinned() -> None:
    assert {name: version(name) for name in PINNED} == PINNED


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
