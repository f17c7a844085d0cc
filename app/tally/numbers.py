"""The numbers of one process, and what adds to them. Nothing here takes a lock: the event loop is the only one who counts."""

import time
from typing import Protocol, TypeAlias

from app.errors import ApiError
from app.tally.board import Board
from app.tally.shape import OTHER, Shape, reason_of

Took: TypeAlias = dict[str | None, list[float]]
"""How long calls took, by operation."""


class Asked(Protocol):
    """A call that was answered."""

    @property
    def operation(self) -> str | None:
        """What was called; None if that was no operation."""
        ...

    @property
    def error(self) -> type[ApiError] | str | None:
        """Why it was refused."""
        ...

    @property
    def aside(self) -> str | None:
        """What there is to say of it besides: one of the ASIDES of app/tally/shape.py."""
        ...


class Tally:
    """What was counted in this process, or by whoever had its place on the board before it."""

    def __init__(self, shape: Shape, board: Board | None = None) -> None:
        self.shape = shape
        self.cells = [0.0] * shape.size
        self.took: dict[str, Took] = {
            door: {name: [] for name in places} for door, places in shape.calls.items()
        }
        """The times of calls that are not in their buckets yet, by door and operation."""
        for took in self.took.values():
            took[None] = took[OTHER]
        self._board = board
        self._place = None
        self._reasons: dict[type[ApiError], str] = {}
        if board is not None and (place := board.take_place()) is not None:
            self._place = place
            self.cells = board.read(place)
        self.cells[shape.starts] += 1
        self.show()

    def show(self) -> None:
        """Show the numbers to whoever answers /metrics, and that this process lives."""
        self.settle()
        self.cells[self.shape.levels["alive_at"]] = time.monotonic()
        if self._board is not None and self._place is not None:
            self._board.write(self._place, self.cells)

    def leave(self) -> None:
        """Show the numbers a last time: this process goes, what it counted stays."""
        self.show()
        self.cells[self.shape.levels["alive_at"]] = 0.0
        if self._board is not None and self._place is not None:
            self._board.write(self._place, self.cells)

    def level(self, name: str, value: float) -> None:
        """Note what goes up and down, as it is now."""
        self.cells[self.shape.levels[name]] = value

    # Calls ----------------------------------------------------------------------------------------------

    def call(self, took: Took, asked: Asked, seconds: float) -> None:
        """Count a call that was answered, at the door whose times these are. It happens with every call, so it is short."""
        took[asked.operation].append(seconds)
        if asked.error is not None:
            self._error(asked.operation or OTHER, asked.error)
        if asked.aside is not None:
            self.cells[self.shape.asides[asked.aside][asked.operation or OTHER]] += 1

    def settle(self) -> None:
        """Put the times that calls took into their buckets: all of a second at once, which takes a third of the time."""
        for door, places in self.shape.calls.items():
            took = self.took[door]
            for operation, place in places.items():
                if times := took[operation]:
                    place.add_all(self.cells, times)
                    times.clear()

    def _error(self, operation: str, error: type[ApiError] | str) -> None:
        reason = error if isinstance(error, str) else self._reason(error)
        places = self.shape.errors[operation]
        self.cells[places.get(reason, places[OTHER])] += 1

    def _reason(self, error: type[ApiError]) -> str:
        if (reason := self._reasons.get(error)) is None:
            reason = self._reasons[error] = reason_of(error)
        return reason

    # The database ---------------------------------------------------------------------------------------

    def batch(self, items: int, *, writes: bool) -> None:
        """Count a statement that serves as many calls."""
        self.shape.batches["write" if writes else "read"].add(self.cells, items)

    def refused(self, line: str) -> None:
        """Count a call that was sent away because too many wait, or that has waited for too long."""
        self.cells[self.shape.refusals[line]] += 1

    def failed(self, reason: str) -> None:
        """Count a statement that the database could not serve."""
        self.cells[self.shape.failures[reason]] += 1

    def lost_connection(self) -> None:
        """Count a connection that broke."""
        self.cells[self.shape.lost_connections] += 1

    # What is done ---------------------------------------------------------------------------------------

    def expired(self, claims: int) -> None:
        """Count claims whose lease ran out."""
        self.cells[self.shape.expired_claims] += claims

    def parked(self, tasks: int) -> None:
        """Count tasks that were set aside because too many claims failed."""
        self.cells[self.shape.parked_tasks] += tasks

    def job(self, name: str, seconds: float, rows: int | None) -> None:
        """Count a portion of a job: how many rows it dealt with; None if it failed."""
        place, cells = self.shape.jobs[name], self.cells
        cells[place.runs] += 1
        cells[place.seconds] += seconds
        if rows is None:
            cells[place.failures] += 1
            return
        cells[place.rows] += rows
        cells[place.last_seconds] = seconds
        cells[place.last_success_at] = time.time()
