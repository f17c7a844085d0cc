"""Imports only go upwards: the code has a reading order, and each part builds on what stands before it alone."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import app

ROOT = Path(app.__path__[0])

LAYERS = (
    # words
    "app.errors",
    "app.types",
    "app.wording",
    "app.decoding",
    "app.config",
    "app.ids",
    "app.clock",
    "app.ending",
    "app.logs",
    "app.tally",
    # the database
    "app.embedded",
    "app.db",
    "app.database_url",
    # the ground under everything that is written
    "app.writes",
    # the pipeline, and who may enter
    "app.rpc",
    "app.auth",
    # what it does, when called and beside
    "app.operations",
    "app.jobs",
    # its doors
    "app.transports",
    # everything together
    "app.server",
    "app.operator",
    "app.__main__",
    # what is written about it
    "app.documents",
)
"""The reading order: each layer builds on those before it, and within one no two modules need each other."""

NOUNS = (
    "told",
    "identities",
    "mentions",
    "channels",
    "messages",
    "tasks",
    "runs",
    "records",
    "inbox",
    "search",
    "requests",
    "workspace",
)
"""The same within app.operations: each noun builds on those before it. What they all stand on lies below, in app.writes."""


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


def layer_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_the_readme_names_the_layers_in_this_order() -> None:
    _, _, rest = (ROOT.parent / "README.md").read_text().partition("## Reading the code\n")
    order = rest.partition("\n## ")[0]
    steps = "\n".join(line for line in order.splitlines() if re.match(r"\d+\. |   ", line))
    named = list(dict.fromkeys(re.findall(r"`app/(\w+)[/.`]", steps)))
    assert named == [layer.removeprefix("app.") for layer in LAYERS]


def test_every_module_has_its_layer() -> None:
    assert sorted({layer_of(module) for module in MODULES} - {"app"}) == sorted(LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_nothing_of_a_later_layer(module: str) -> None:
    ours = {layer_of(name) for name in imports(module) if name.split(".")[0] == "app"}
    later = LAYERS[LAYERS.index(layer_of(module)) + 1 :] if module != "app" else LAYERS
    assert ours & set(later) == set()


def noun_of(module: str) -> str | None:
    """Which noun of app.operations a module belongs to; None for the table of all, and for what stands elsewhere."""
    return (
        module.removeprefix("app.operations.").split(".")[0] if module.startswith("app.operations.") else None
    )


def test_every_noun_has_its_rung() -> None:
    assert sorted({noun for module in MODULES if (noun := noun_of(module))}) == sorted(NOUNS)


@pytest.mark.parametrize("module", [module for module in MODULES if noun_of(module)])
def test_a_noun_imports_nothing_of_a_later_noun(module: str) -> None:
    nouns = {noun for name in imports(module) if (noun := noun_of(name))}
    later = NOUNS[NOUNS.index(noun_of(module) or "") + 1 :]
    assert nouns & set(later) == set()


def test_no_modules_need_each_other() -> None:
    needs = {module: [name for name in imports(module) if name in MODULES] for module in MODULES}
    TopologicalSorter(needs).prepare()  # raises CycleError, which names them


@pytest.mark.parametrize("module", MODULES)
def test_only_the_database_layer_knows_the_driver(module: str) -> None:
    drivers = [name for name in imports(module) if name.split(".")[0].startswith("psycopg")]
    assert not drivers or module.startswith("app.db")


@pytest.mark.parametrize("module", MODULES)
def test_operations_know_of_no_transport_and_no_framework(module: str) -> None:
    printing = {f"app.operator.{room}" for room in ("cli", "console", "staff", "tenancy", "upkeep")}
    if module.startswith(("app.operations", "app.rpc", "app.operator")) and module not in printing:
        assert not {"starlette", "uvicorn", "typer"} & {name.split(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", MODULES)
def test_only_the_config_reads_the_environment(module: str) -> None:
    read = [
        node
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"}
    ]
    allowed = {"app.config", "app.server.serve", "app.transports.mcp.bridge"}
    assert not read or module in allowed, (
        "app.server.serve tells its workers where the database is; the bridge finds out what makes its client impossible"
    )


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_serves_needs_what_writes_the_documents(module: str) -> None:
    if not module.startswith("app.documents"):
        assert not [name for name in imports(module) if name.startswith("app.documents")]


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
