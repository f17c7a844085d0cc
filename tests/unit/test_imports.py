"""Imports only go upwards: the modules have a reading order, and each builds on what stands before it alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import app

ROOT = Path(app.__path__[0])

READING_ORDER = [
    "app",
    # words
    "app.errors",
    "app.types",
    "app.decoding",
    "app.config",
    "app.ids",
    "app.clock",
    "app.logs",
    # the database
    "app.embedded",
    "app.db.encoded",
    "app.db.query",
    "app.db.adapters",
    "app.db.pipeline",
    "app.db.batcher",
    "app.db.database",
    "app.db.schema",
    "app.db",
    # the pipeline, and who may enter
    "app.idempotency",
    "app.rpc",
    "app.auth",
    "app.administration",
    # what it does
    "app.operations.tasks",
    "app.operations.tasks.task",
    "app.operations.tasks.comment",
    "app.operations.tasks.conflict",
    "app.operations.tasks.change",
    "app.operations.tasks.update",
    "app.operations.tasks.create",
    "app.operations.tasks.lifecycle",
    "app.operations.tasks.history",
    "app.operations.tasks.listing",
    "app.operations.requests",
    "app.operations.workspace",
    "app.operations",
    # what goes on beside
    "app.jobs.idempotency",
    "app.jobs",
    # its doors
    "app.transports",
    "app.transports.envelope",
    "app.transports.examples",
    "app.transports.openapi",
    "app.transports.reference",
    "app.transports.http",
    "app.transports.pages",
    # everything together
    "app.main",
    "app.serve",
    "app.cli",
    "app.__main__",
]


def modules() -> dict[str, Path]:
    """Every module of the code, and where it is written."""
    found: dict[str, Path] = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(source: str, known: set[str]) -> Iterator[str]:
    """The modules that a source imports, also within functions and for types only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else str(node.module)


def imports(module: str) -> list[str]:
    return list(imports_of(MODULES[module].read_text(), set(MODULES)))


def test_every_module_has_its_place_in_the_reading_order() -> None:
    assert sorted(READING_ORDER) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_before_it(module: str) -> None:
    before = READING_ORDER[: READING_ORDER.index(module)]
    ours = [name for name in imports(module) if name.split(".")[0] == "app"]
    assert [name for name in ours if name not in before] == []


@pytest.mark.parametrize("module", MODULES)
def test_only_the_database_layer_knows_the_driver(module: str) -> None:
    drivers = [name for name in imports(module) if name.split(".")[0].startswith("psycopg")]
    assert not drivers or module.startswith("app.db")


@pytest.mark.parametrize("module", MODULES)
def test_operations_know_of_no_transport_and_no_framework(module: str) -> None:
    if module.startswith(("app.operations", "app.rpc", "app.administration")):
        assert not {"starlette", "uvicorn", "typer"} & {name.split(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", MODULES)
def test_only_the_config_reads_the_environment(module: str) -> None:
    read = [
        node
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"}
    ]
    assert not read or module in {"app.config", "app.serve"}, (
        "app.serve tells its workers where the database is"
    )


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import app.a
from app import b, name
from app.c import d
if TYPE_CHECKING:
    from app.e import f
def late():
    from app.g import h
"""
    known = {"app.b", "app.c.d"}
    assert list(imports_of(source, known)) == ["app.a", "app.b", "app", "app.c.d", "app.e", "app.g"]
