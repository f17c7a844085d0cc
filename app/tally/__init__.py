"""Counting what happens, for whoever operates the service: plain numbers, one list of them in each process.

    Shape   which number stands where; the same in every process of a service (shape.py)
    Tally   the numbers of a process, and what adds to them (numbers.py)
    Board   memory in which each process shows its numbers to the one that answers /metrics (board.py)

What is counted knows nothing of how it is told: app/server/metrics/ gives the numbers their names. If nobody asked for
metrics there is no tally: whoever counts has None then, and does nothing.
"""

from app.tally.board import Board
from app.tally.numbers import Tally
from app.tally.shape import Shape

__all__ = ["Board", "Shape", "Tally"]
