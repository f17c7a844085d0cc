"""Memory that the processes of a service share: each shows its numbers in a place of its own.

A place is taken with a lock of the operating system on its byte, which goes when its holder dies, however it dies. Whoever
takes the place next goes on from the numbers that stand there. So no number ever goes back, and none counts twice.

The memory is a file without a name, so nothing is left behind either. Worker processes are given it when they start, as
they are given the listening socket.
"""

import fcntl
import mmap
import os
import tempfile
from array import array
from collections.abc import Callable, Iterator
from multiprocessing.reduction import DupFd
from typing import Any, Final

NUMBER_BYTES: Final = 8  # of a float; it counts to 2^53 without a gap


class Board:
    """A number of places, each with as many numbers."""

    def __init__(self, size: int, places: int, descriptor: int | None = None) -> None:
        if descriptor is None:
            with tempfile.TemporaryFile(prefix="baton-", buffering=0) as file:
                file.truncate(size * places * NUMBER_BYTES)
                if hasattr(
                    os, "posix_fallocate"
                ):  # so that a full disk is met here, and not in the middle of a call
                    os.posix_fallocate(file.fileno(), 0, size * places * NUMBER_BYTES)
                descriptor = os.dup(file.fileno())
        self._size = size
        self._places = places
        self._descriptor = (
            descriptor  # open for as long as the process lives: closing it would give the place up
        )
        self._numbers = memoryview(mmap.mmap(descriptor, size * places * NUMBER_BYTES)).cast("d")

    def __reduce__(self) -> tuple[Callable[..., "Board"], tuple[Any, ...]]:
        """How a worker process is given it. That works while one starts, and not otherwise."""
        return _received, (self._size, self._places, DupFd(self._descriptor))

    def take_place(self) -> int | None:
        """Take a place for as long as this process lives; None if all are taken."""
        for place in range(self._places):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):  # somebody has it
                continue
            return place
        return None

    def read(self, place: int) -> list[float]:
        """The numbers at a place."""
        return array("d", self._numbers[place * self._size : (place + 1) * self._size]).tolist()

    def write(self, place: int, numbers: list[float]) -> None:
        """Show numbers at a place."""
        self._numbers[place * self._size : (place + 1) * self._size] = memoryview(array("d", numbers))

    def __iter__(self) -> Iterator[list[float]]:
        return (self.read(place) for place in range(self._places))


def _received(size: int, places: int, descriptor: Any) -> Board:  # Any: what multiprocessing makes of a DupFd
    return Board(size, places, descriptor.detach())
