"""Every constant is used: who changes one that is not, changes nothing."""

import ast
from pathlib import Path

import app

APP = Path(app.__path__[0])
SOURCES, TESTS = (
    {path: ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))}
    for root in (APP, APP.parent / "tests")
)


def constants(tree: ast.Module) -> set[str]:
    """The names that a module gives to values."""
    named: set[str] = set()
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                named.add(name)
            case _:
                pass
    return named - {"__all__"}


def used(tree: ast.Module) -> set[str]:
    """The names that a module reads, its own or those of others."""
    names = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_every_constant_is_used() -> None:
    """By the code, or by the test that holds it to a budget."""
    everywhere = set[str]().union(*(used(tree) for tree in (*SOURCES.values(), *TESTS.values())))
    unused = {
        f"{path.name}: {name}" for path, tree in SOURCES.items() for name in constants(tree) - everywhere
    }
    assert unused == set()
