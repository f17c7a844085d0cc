"""`python -m tests.bench`: measure, look where time goes, or quote what was measured in the documents.

python -m tests.bench compare [--rounds 3] [--seconds 3] [--minutes 2] [--json FILE]
python -m tests.bench scale   [--rows 100000 --rows 1000000] [--rounds 3] [--seconds 3] [--json FILE]
python -m tests.bench report  FILE          the tables of docs/performance.md, and docs/performance.svg
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.bench import compare, profiling, report, scale, table
from tests.bench.figures import DISTURBANCE_MAX, disturbance, results
from tests.bench.load import Failed


def main() -> int:
    """Run a command; 1 if a measurement went wrong. A figure that misses its target is a figure, not a failure."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started is stopped then too
    try:
        match arguments.command:
            case "compare":
                run = compare.run(
                    rounds=arguments.rounds, seconds=arguments.seconds, minutes=arguments.minutes
                )
                _show(run)
                if arguments.json:
                    Path(arguments.json).write_bytes(compare.dump_run(run))
            case "scale":
                growth = scale.run(arguments.rows, rounds=arguments.rounds, seconds=arguments.seconds)
                print(f"\n{table.plain(scale.rows(growth))}\n")
                if arguments.json:
                    Path(arguments.json).write_bytes(scale.dump_growth(growth))
            case "profile":
                print(profiling.run(arguments.kind, seconds=arguments.seconds))
            case _:
                print(f"docs/performance.md now quotes {' and '.join(report.write())}")
    except Failed as failure:
        print(f"\nThe benchmark failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Baton.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("compare", "scale"):
        command = commands.add_parser(name)
        command.add_argument("--rounds", type=int, default=3, help="every variant runs once per round")
        command.add_argument("--seconds", type=int, default=3, help="length of each measurement")
        command.add_argument("--json", help="also write everything measured into this file")
        if name == "compare":
            command.add_argument(
                "--minutes", type=int, default=2, help="length of the load for the memory figure; 0 skips it"
            )
        else:
            command.add_argument(
                "--rows", type=int, action="append", help="how many tasks there are; may be repeated"
            )
    profile = commands.add_parser("profile")
    profile.add_argument("kind", choices=(*compare.KINDS, *compare.OTHERS), nargs="?", default="update")
    profile.add_argument("--seconds", type=int, default=10)
    commands.add_parser("report")
    return parser


def _show(run: compare.Run) -> None:
    print(f"\n{table.plain(table.details(run.measurements))}\n")
    print(f"{table.plain(table.ratios(results(run.measurements)))}\n")
    print(
        f"Medians of {run.rounds} rounds of {run.seconds} s; ratios within a round. Load average now: {_load_average()}"
    )
    if (others := disturbance(run.measurements)) > DISTURBANCE_MAX:
        print(
            f"NOT A QUIET MACHINE: other programs had {others:.0%} of its processors. Do not quote this run."
        )
    for name, why in run.left_out.items():
        print(f"LEFT OUT: {name}: {why}")


def _load_average() -> str:
    return " ".join(f"{n:.2f}" for n in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
