"""One frame is around every answer, whichever door gives it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import app.transports
from app.transports import frame

HERE = Path(app.transports.__path__[0])


def begun(source: str) -> Iterator[int]:
    """The lines on which an answer is begun."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                match key, value:
                    case ast.Constant(value="type"), ast.Constant(value="http.response.start"):
                        yield node.lineno
                    case _:
                        pass


def test_only_the_frame_begins_an_answer() -> None:
    found = {path.relative_to(HERE).as_posix() for path in HERE.rglob("*.py") if [*begun(path.read_text())]}
    assert found == {Path(frame.__file__).name}
