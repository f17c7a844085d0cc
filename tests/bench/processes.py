"""What a program and everything it started has used, read from /proc."""

import os
import re
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: int) -> float:
    """CPU used by a process and its descendants, those that have ended included."""
    stats = _stats()
    return sum(stats[pid][1] for pid in _tree(stats, root)) / TICKS_PER_SECOND


def memory_megabytes(root: int) -> float:
    """Resident memory of a process and its descendants; pages they share count for each."""
    stats = _stats()
    kilobytes = 0
    for pid in _tree(stats, root):
        found = re.search(r"VmRSS:\s+(\d+) kB", (PROC / str(pid) / "status").read_text())
        kilobytes += int(found[1]) if found else 0
    return kilobytes / 1024


def busy_seconds() -> float:
    """CPU used by everything on this machine since it started, other guests of its host included."""
    return parse_busy((PROC / "stat").read_text()) / TICKS_PER_SECOND


def parse_busy(text: str) -> int:
    """Ticks that were not idle, in the first line of /proc/stat."""
    user, nice, system, _idle, _waiting, *interrupts_and_stolen = (
        int(n) for n in text.splitlines()[0].split()[1:9]
    )
    return user + nice + system + sum(interrupts_and_stolen)


def _stats() -> dict[int, tuple[int, int]]:
    """Parent and used ticks of every process; what an ended child used is in its parent's, from when it is waited for."""
    stats: dict[int, tuple[int, int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                continue
    return stats


def parse_stat(line: str) -> tuple[int, int]:
    """Parent and ticks (user, system, and both of children waited for) of one line of /proc/PID/stat."""
    fields = line.rpartition(")")[2].split()  # the name, in parentheses, may contain anything
    return int(fields[1]), sum(int(field) for field in fields[11:15])


def _tree(stats: dict[int, tuple[int, int]], root: int) -> set[int]:
    tree = {root} & stats.keys()
    while True:
        grown = tree | {pid for pid, (parent, _) in stats.items() if parent in tree}
        if grown == tree:
            return tree
        tree = grown
