"""The tree of errors in the docstring of app/errors is the code, and each error can be read by the published client."""

import inspect
import re
from typing import NamedTuple

import pytest

from app import errors
from app.errors import ApiError

STATUSES = {400, 401, 403, 404, 409, 429, 500, 503}
"""The only ones that the published client turns into errors of its own."""

UNSENT = {405, 408, 414, 415, 431, 501, 505}
"""For what no published client sends: a wrong verb, a coded body, what is not quite HTTP."""


class Line(NamedTuple):
    """One line of the tree."""

    depth: int
    name: str
    status: str
    code: str


def drawn() -> list[Line]:
    """The tree as the docstring draws it."""
    lines: list[Line] = []
    for text in inspect.cleandoc(errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"(?P<branch>(?:[│ ]   )*)(?:[├└]── )?(?P<name>[A-Z]\w+)(?P<rest>.*)", text)
        if match and (match["name"] == "ApiError" or "── " in text):
            depth = text.index(match["name"]) // 4 - 1  # the whole tree is indented
            facts = re.fullmatch(r"\s*(?P<status>\d{3})?\s*(?P<code>[A-Za-z_]+)?", match["rest"])
            lines.append(
                Line(
                    depth,
                    match["name"],
                    *((facts["status"] or "", facts["code"] or "") if facts else ("", "")),
                )
            )
    return lines


def coded() -> list[Line]:
    """The tree as the classes stand: a status or code is written where it is first given."""
    lines: list[Line] = []

    def visit(error: type[ApiError], depth: int) -> None:
        own = vars(error)
        lines.append(Line(depth, error.__name__, str(own.get("status", "")), own.get("code", "")))
        for sub in error.__subclasses__():
            if sub.__module__.startswith(errors.__name__):
                visit(sub, depth + 1)

    visit(ApiError, 0)
    return lines


def leaves() -> list[type[ApiError]]:
    """The errors that are raised."""
    names = [line.name for line in coded()]
    classes: list[type[ApiError]] = [getattr(errors, name) for name in names]
    return [error for error in classes if not error.__subclasses__()]


def test_the_drawing_is_the_code_in_the_same_order() -> None:
    assert drawn() == coded()


@pytest.mark.parametrize("error", leaves(), ids=lambda error: error.__name__)
def test_an_error_has_a_status_the_client_knows_a_code_and_a_description(error: type[ApiError]) -> None:
    assert error.status in STATUSES | UNSENT
    assert re.fullmatch(r"[a-z_]+|AUTH_[A-Z_]+", error.code)
    assert error.code.startswith("AUTH_") == (error.status == 401)
    assert error.__doc__
    assert error.__doc__.rstrip().endswith(".")


@pytest.mark.parametrize("error", leaves(), ids=lambda error: error.__name__)
def test_only_what_may_succeed_later_is_retryable(error: type[ApiError]) -> None:
    assert error.retryable == (error.status in {408, 429, 500, 503})
    assert (error.retry_after_seconds is not None) == (error.status in {429, 503})


def test_the_module_has_no_error_besides_the_tree() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert classes == {line.name for line in coded()}


def test_long_names_are_cut_short_in_messages() -> None:
    long = "x" * 10_000
    for error in (
        errors.TaskNotFound(long),
        errors.IdentityNotFound(long, field="handle"),
        errors.ChannelNotFound(long),
    ):
        assert len(error.message) < 300
        assert len(str(error.details)) < 300
