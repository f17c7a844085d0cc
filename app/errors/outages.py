"""The service cannot answer right now: 503."""

from __future__ import annotations

from app.errors.kinds import Unavailable


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or the connection broke. A write may or may not have happened: read before repeating it."""

    def __init__(self) -> None:
        super().__init__(
            "The database cannot be reached right now. A write may or may not have happened: read, then repeat it."
        )


class StorageFull(Unavailable):
    """The database has no space left on its disk. Nothing was written; reading still works."""

    def __init__(self) -> None:
        super().__init__(
            "The database has no space left on its disk. Nothing was written; tell the operator, and try again later."
        )


class TimedOut(Unavailable):
    """The call took longer than the server allows. A write may or may not have happened: read before repeating it."""

    def __init__(self) -> None:
        super().__init__(
            "The call took too long and was cancelled. A write may or may not have happened: read, then repeat it."
        )


class CallerGone(Unavailable):
    """The caller hung up while its call was waiting. Nobody hears this; the log has it."""

    def __init__(self) -> None:
        super().__init__("The caller hung up while the call was waiting.")


class Overloaded(Unavailable):
    """More calls are waiting than can be served soon, or the database has been away for too long. Nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "The service is overloaded or its database is away. Nothing was written; try again in a second."
        )


class Contended(Unavailable):
    """Others changed the task again and again while this call tried. Nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "This task is being changed too often for this call to get a turn. Nothing was written; try again in a second."
        )


class NotReady(Unavailable):
    """The service goes on answering, but whoever can choose should call another one. Only `/readyz` says this."""
