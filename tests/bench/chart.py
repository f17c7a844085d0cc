"""The comparison as a picture: one bar per variant, drawn by hand as SVG, so that it needs nothing and loads anywhere."""

from collections.abc import Sequence
from typing import Final

from tests.bench.figures import Measurement, middle

BARS: Final = (
    ("baton update", "Baton, 32 connections"),
    ("pgbench update", "pgbench, same SQL, 16 clients"),
    ("fastify, statement update", "Fastify + pg, one statement"),
    ("fastify, transaction update", "Fastify + pg, transaction"),
    ("fastapi update", "FastAPI + SQLAlchemy"),
    ("django update", "Django REST framework"),
)
TITLE: Final = "update-task, calls per second"
WIDTH: Final = 760
LABEL_WIDTH: Final = 230
VALUE_WIDTH: Final = 130
ROW_HEIGHT: Final = 34
TOP: Final = 58
OURS, YARDSTICK, THEIRS, TEXT = "#2f81f7", "#8b949e", "#b8bfc7", "#768390"  # on white and on black alike


def svg(measurements: Sequence[Measurement], caption: str) -> str:
    """The chart."""
    bars = [
        (
            label,
            value,
            OURS if name.startswith("baton") else YARDSTICK if name.startswith("pgbench") else THEIRS,
        )
        for name, label in BARS
        if (value := middle(measurements, name, "per_second")) is not None
    ]
    ours = bars[0][1]
    most = max(value for _, value, _ in bars)
    height = TOP + ROW_HEIGHT * len(bars) + 12
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"',
        f' font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}" role="img" aria-label="{TITLE}">',
        f'<text x="0" y="18" font-size="15" font-weight="600">{TITLE}</text>',
        f'<text x="0" y="38" font-size="12">{caption}</text>',
    ]
    for row, (label, value, colour) in enumerate(bars):
        y, width = TOP + row * ROW_HEIGHT, max(room * value / most, 2)
        share = "" if value == ours else f" ({_share(value / ours)} of Baton)"
        lines += [
            f'<text x="{LABEL_WIDTH - 10}" y="{y + 18}" text-anchor="end">{label}</text>',
            f'<rect x="{LABEL_WIDTH}" y="{y + 4}" width="{width:.1f}" height="20" rx="3" fill="{colour}"/>',
            f'<text x="{LABEL_WIDTH + width + 8:.1f}" y="{y + 18}">{value:,.0f}{share}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= 0.1 else f"1/{1 / value:.0f}"
