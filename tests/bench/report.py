"""`make bench-report`: the newest runs, quoted in docs/performance.md between marks, and drawn in its chart.

The prose around the marks is written by hand. `docs/performance/` keeps the runs themselves, so that everybody can
check the quotation, as the smoke test does.
"""

from pathlib import Path
from typing import Final

import msgspec

from tests.bench import chart, scale, table
from tests.bench.compare import Run
from tests.bench.figures import DISTURBANCE_MAX, disturbance, results
from tests.bench.machine import LOAD_AVERAGE
from tests.bench.scale import Growth
from tests.bench.servers import INSTALLED, REPOSITORY

DOCUMENT: Final = REPOSITORY / "docs" / "performance.md"
KEPT: Final = REPOSITORY / "docs" / "performance"
CHART: Final = KEPT / "comparison.svg"
RUNS: Final = ("compare.json", "scale.json")  # what the bench leaves in .cache/bench


def write() -> list[str]:
    """Take over what was measured last, and quote it."""
    KEPT.mkdir(exist_ok=True)
    taken: list[str] = []
    for name in RUNS:
        if (INSTALLED / name).exists():
            (KEPT / name).write_bytes((INSTALLED / name).read_bytes())
            taken.append(name)
    run, growth = kept()
    DOCUMENT.write_text(quoted(DOCUMENT.read_text(), run, growth))
    CHART.write_text(chart.svg(run.measurements, caption(run)))
    return taken


def kept(directory: Path = KEPT) -> tuple[Run, Growth]:
    """The runs that the document quotes."""
    run, growth = ((directory / name).read_bytes() for name in RUNS)
    return msgspec.json.decode(run, type=Run), msgspec.json.decode(growth, type=Growth)


def quoted(document: str, run: Run, growth: Growth) -> str:
    """The document with the runs in place of what it quoted before."""
    quotations = {
        "machine": _machine(run),
        "ratios": table.markdown(table.ratios(results(run.measurements))),
        "details": table.markdown(table.details(run.measurements)),
        "growth": table.markdown(scale.rows(growth)),
    }
    for name, text in quotations.items():
        before, mark, rest = document.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- /{name} -->")
        document = f"{before}{mark}{text}{end}{after}"
    return document


def caption(run: Run) -> str:
    """What the chart is of, in one line."""
    return f"one process each, the same Postgres, all on {run.machine['cpu']}; medians of {run.rounds} rounds"


def _machine(run: Run) -> str:
    facts = run.machine
    when = f"{run.started}, {run.rounds} rounds of {run.seconds} s, memory over {run.minutes} minutes"
    named = ("cpu", "memory", "system", LOAD_AVERAGE)
    versions = "; ".join(f"{name} {value}" for name, value in facts.items() if name not in named)
    hardware = f"{facts['cpu']}, {facts['memory']}, {facts['system']}"
    others = disturbance(run.measurements)
    noise = f"other programs had {others:.0%} of the processors meanwhile" + (
        "." if others <= DISTURBANCE_MAX else ", so its ratios are rough."
    )
    return (
        f"{hardware}; {when}; load average before it {facts[LOAD_AVERAGE]}; {noise}\n\nVersions: {versions}."
    )
