"""What a Prometheus would see: /metrics, read by its own parser."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Server


@dataclass(frozen=True)
class Scrape:
    """One look at /metrics."""

    values: Mapping[tuple[str, frozenset[tuple[str, str]]], float]
    kinds: Mapping[str, str]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels."""
        wanted = labels.items()
        return sum(value for (found, has), value in self.values.items() if found == name and wanted <= has)

    def labels(self, name: str, label: str) -> set[str]:
        """The values that a label has."""
        return {dict(has)[label] for found, has in self.values if found == name}


def read(text: str) -> Scrape:
    """The text as Prometheus' client reads it."""
    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(values) == len(samples), "a series is there twice"
    kinds = {family.name: family.type for family in families}
    assert len(kinds) == len(families), "a metric is there twice"
    return Scrape(values, kinds)


def address(server: Server) -> str:
    """Where a server says that its metrics are."""
    found = re.search(r"Metrics are on (\S+)", server.output)
    assert found is not None, server.output
    return found[1]


def scrape(server: Server) -> Scrape:
    answer = httpx.get(address(server))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(answer.text)
