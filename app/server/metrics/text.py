"""Samples in the text format that Prometheus reads (version 0.0.4)."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from app.server.metrics.catalogue import METRICS, Metric

MEDIA_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """A number, of which metric, for which labels; of a histogram the `part` of it."""

    metric: str
    value: float
    labels: tuple[str, ...] = ()
    part: str = ""
    bound: str = ""


def text(samples: Iterable[Sample]) -> bytes:
    """All samples, metric by metric in the order of the catalogue."""
    of_metric: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        of_metric[sample.metric].append(sample)
    lines: list[str] = []
    for metric in METRICS:
        if found := of_metric.pop(metric.name, None):
            lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}")
            lines += (_line(metric, sample) for sample in found)
    assert not of_metric, f"not in the catalogue: {sorted(of_metric)}"
    return "\n".join([*lines, ""]).encode()


def histogram(
    metric: str, labels: tuple[str, ...], bounds: Iterable[float], buckets: Iterable[float], sum: float
) -> list[Sample]:
    """The samples of a histogram, from how many stand in each bucket."""
    samples: list[Sample] = []
    count = 0.0
    for bound, number in zip([*(f"{bound:g}" for bound in bounds), "+Inf"], buckets, strict=True):
        count += number
        samples.append(Sample(metric, count, labels, "_bucket", bound))
    return [*samples, Sample(metric, sum, labels, "_sum"), Sample(metric, count, labels, "_count")]


def _line(metric: Metric, sample: Sample) -> str:
    labels = [f'{name}="{_escaped(value)}"' for name, value in zip(metric.labels, sample.labels, strict=True)]
    if sample.bound:
        labels.append(f'le="{sample.bound}"')
    said = f"{{{','.join(labels)}}}" if labels else ""
    return f"{metric.name}{sample.part}{said} {_number(sample.value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
