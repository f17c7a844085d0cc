"""`python -m tests.bench profile KIND`: where the service's own time goes while it is under a load.

py-spy looks at the process a hundred times a second and says which line it is at. Only samples in which the service has
the processor count; they are summed by the part of the program that the innermost Python frame belongs to: C code
(parsers, libpq, msgspec, the event loop itself) counts for whoever called it.
"""

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

from tests.bench import load
from tests.bench.laboratory import CALLERS, PATHS, POOLS, laboratory
from tests.bench.load import Failed, Kind
from tests.bench.servers import INSTALLED, baton
from tests.bench.world import WORKERS

PY_SPY: Final = INSTALLED / "venv" / "bin" / "py-spy"
ROWS: Final = 100_000
SAMPLES_PER_SECOND: Final = 200
LINES_SHOWN: Final = 25

# A frame in py-spy's raw format: `name (path:line)`.
FRAME: Final = re.compile(r"(?P<name>.+) \((?P<path>[^()]+?)(:\d+)?\)")


def run(kind: Kind, *, seconds: int) -> str:
    """Profile the service under one kind of call."""
    if not PY_SPY.exists():
        message = "py-spy is not installed: run `make bench-setup`"
        raise Failed(message)
    with laboratory() as lab:
        world = lab.world("baton", ROWS)
        with lab.running(baton(), world) as server:
            world.reset()
            stacks = lab.directory / "stacks.txt"
            command = [
                PY_SPY, "record", "--pid", str(server.process.pid), "--duration", str(seconds), "--format", "raw",
                "--full-filenames", "--rate", str(SAMPLES_PER_SECOND), "--output", stacks,
            ]  # fmt: skip
            watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            seen = load.wrk(
                server.url,
                PATHS[kind],
                kind,
                POOLS[kind],
                connections=32,
                seconds=seconds,
                callers=CALLERS.get(kind, WORKERS),
            )
            said, _ = watching.communicate()
            if watching.returncode != 0:
                message = f"py-spy failed: {said[-1000:]}"
                raise Failed(message)
            return f"{kind}: {seen.calls_per_second:,.0f} calls/s while being watched\n\n{summary(stacks.read_text())}"


def summary(stacks: str) -> str:
    """Shares of the samples, by part of the program, then by function."""
    parts: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        innermost = FRAME.fullmatch(frames.rpartition(";")[2])
        if innermost is not None:
            part = part_of(innermost["path"])
            parts[part] += int(count)
            functions[f"{part}: {innermost['name']}"] += int(count)
    total = parts.total()
    shown = [*parts.most_common(), ("", 0), *functions.most_common(LINES_SHOWN)]
    return "\n".join(f"{count / total:6.1%}  {name}" if name else "" for name, count in shown)


def part_of(path: str) -> str:
    """The package, or for our own code the file, that a frame belongs to."""
    parts = Path(path).parts
    if parts[-2:] == (
        "asyncio",
        "runners.py",
    ):  # what is under it is compiled, and shows no frames of its own
        return "uvloop: polling, reading, writing"
    if "app" in parts:
        return "/".join(parts[parts.index("app") :])
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return parts[0] if len(parts) == 1 else f"{parts[-2]}/{parts[-1]}"
