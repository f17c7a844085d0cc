"""How a worker process begins: with almost nothing, so that it can say that it lives while it imports the rest."""

from typing import TYPE_CHECKING, NamedTuple

from app.server.protocol import Door
from app.tally import Board

if TYPE_CHECKING:
    from app.server.main import Application


class Worker(NamedTuple):
    """What a worker is given by the process that starts it."""

    door: Door
    board: Board | None
    """Where it shows what it counts, if that is asked for."""

    def __call__(self) -> "Application":
        """Its application."""
        from app.server.process import worker_application  # noqa: PLC0415 - all of Baton, which takes a while

        return worker_application(self.door, self.board)
