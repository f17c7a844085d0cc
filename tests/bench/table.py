"""Results as text: for the terminal, and as Markdown for docs/performance.md."""

from collections.abc import Iterable, Sequence

from tests.bench.figures import Measurement, Result, disturbance, middle


def ratios(results: Sequence[Result]) -> list[list[str]]:
    """The table of ratios."""
    rows = [["figure", "ratio", "rounds", "must", "goal", "", "medians"]]
    for r in results:
        medians = f"{number(r.over)}{r.unit}" + (
            f" ÷ {number(r.under)}{r.unit}" if r.under is not None else ""
        )
        if r.under is None:
            rows.append(
                [
                    r.name,
                    f"{r.median:.2f}{r.unit}",
                    _range(r),
                    _target(r, r.must),
                    _target(r, r.goal),
                    r.verdict,
                    "",
                ]
            )
        else:
            rows.append(
                [
                    r.name,
                    ratio(r.median),
                    _range(r),
                    _target(r, r.must),
                    _target(r, r.goal),
                    r.verdict,
                    medians,
                ]
            )
    return rows


def details(measurements: Sequence[Measurement]) -> list[list[str]]:
    """What stands behind the ratios: the medians of each variant."""
    rows = [
        ["variant", "calls/s", "p50 ms", "p99 ms", "CPU per call: service", "Postgres", "load", "others had"]
    ]
    for name in dict.fromkeys(m.name for m in measurements if m.per_second is not None):
        mine = [m for m in measurements if m.name == name]
        rows.append(
            [
                name,
                number(middle(mine, name, "per_second")),
                number(middle(mine, name, "p50_ms")),
                number(middle(mine, name, "p99_ms")),
                *(_microseconds(mine, field) for field in ("service_us", "postgres_us", "load_us")),
                f"{disturbance(mine):.0%}",
            ]
        )
    return rows


def plain(rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for the documents."""
    head, *body = rows
    lines = [head, ["---", *("--:" for _ in head[1:])], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratio(value: float) -> str:
    """A ratio, with as many digits as it bears."""
    if value < 0.1:
        return f"1/{1 / value:.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def number(value: float | None) -> str:
    """A number of a few digits, with a narrow gap between thousands."""
    if value is None:
        return "-"
    return f"{value:,.0f}".replace(",", "\u202f") if value >= 100 else f"{value:.3g}"


def _microseconds(measurements: Iterable[Measurement], field: str) -> str:
    values = sorted(value for m in measurements if (value := getattr(m, field)) is not None)
    return f"{values[len(values) // 2]:.0f} µs" if values else "-"


def _range(result: Result) -> str:
    return f"{ratio(result.low)} to {ratio(result.high)}"


def _target(result: Result, target: float | None) -> str:
    if target is None:
        return "-"
    return f"{target:g} s" if result.under is None else ratio(target)
