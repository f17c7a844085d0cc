"""The page, the alerts and the dashboard speak of metrics that there are, and of all of them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.server.metrics.catalogue import METRICS, Metric
from app.server.metrics.gauges import HOT_TABLES
from app.tally.shape import DOORS, FAILURES, LINES, STATEMENTS, reasons

DOCS = Path(__file__).parents[2] / "docs" / "operating"
PAGE = (DOCS / "metrics.md").read_text()
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_METRIC = {metric.name: metric for metric in METRICS}
VALUES = {
    "door": set(DOORS),
    "line": set(LINES),
    "statements": set(STATEMENTS),
    "reason": {reason for reason, _ in reasons()} | set(FAILURES),
    "code": {code for _, code in reasons()},
    "assigned": {"true", "false"},
    "table": set(HOT_TABLES),
}


def metric_of(name: str) -> Metric | None:
    """The metric whose series has this name."""
    if name in OF_METRIC:
        return OF_METRIC[name]
    base = OF_METRIC.get(re.sub("_(bucket|sum|count)$", "", name))
    return base if base is not None and base.kind == "histogram" else None


def selected(expression: str) -> Iterator[tuple[str, str]]:
    """Each series that an expression names, with what stands in braces behind it."""
    yield from re.findall(r"\b(baton_\w+)(?:\{([^}]*)\})?", expression)


def check(expression: str) -> None:
    series = list(selected(expression))
    assert series or expression.startswith("up{")
    labels = {"le"}
    for name, braces in series:
        metric = metric_of(name)
        assert metric is not None, f"there is no {name}"
        labels |= set(metric.labels)
        for label, values in re.findall(r'(\w+)[=!]~?"([^"]*)"', braces):
            assert label in metric.labels, f"{name} has no {label}"
            assert set(values.split("|")) <= VALUES.get(label, set(values.split("|")))
    for by in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(", *", by)) <= labels


def test_the_page_has_every_metric_and_names_no_other() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `baton"))
    told = re.findall(r"`(baton_\w+)`", rows)
    assert sorted(told) == sorted(OF_METRIC)
    assert {name for name, _ in selected(PAGE)} <= set(OF_METRIC)


def test_the_page_says_by_what_each_is_split() -> None:
    for line in PAGE.splitlines():
        if line.startswith("| `baton"):
            _, names, labels, meaning, _ = line.split("|", 4)
            split = set(re.findall(r"`(\w+)`", labels))
            assert split == {
                label for name in re.findall(r"`(\w+)`", names) for label in OF_METRIC[name].labels
            }
            assert meaning.strip()


@pytest.mark.parametrize("alert", [alert["alert"] for alert in ALERTS])
def test_an_alert_asks_for_what_there_is_and_the_page_says_what_to_do(alert: str) -> None:
    [rule] = [rule for rule in ALERTS if rule["alert"] == alert]
    check(rule["expr"])
    assert rule["labels"]["severity"] in {"page", "ticket"} and rule["annotations"]["summary"]
    _, _, advice = PAGE.partition(f"\n### {alert}\n")
    assert len(advice.partition("\n###")[0].split()) > 10


def test_the_page_explains_no_alert_that_there_is_not() -> None:
    assert set(re.findall(r"^### (Baton\w+)$", PAGE, re.MULTILINE)) == {alert["alert"] for alert in ALERTS}
    assert set(re.findall(r"see (Baton\w+)", PAGE)) <= {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("title", [panel["title"] for panel in PANELS])
def test_a_panel_shows_what_there_is(title: str) -> None:
    [panel] = [panel for panel in PANELS if panel["title"] == title]
    for target in panel["targets"]:
        check(target["expr"])
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_dashboard_imports_into_any_grafana() -> None:
    assert "id" not in DASHBOARD and DASHBOARD["title"] == "Baton" and DASHBOARD["schemaVersion"] >= 36
    [variable] = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(places) == len(set(places))
    shown = {metric_of(name) for panel in PANELS for t in panel["targets"] for name, _ in selected(t["expr"])}
    about = {"baton_info", "baton_database_up", "baton_database_live_rows"}  # in alerts, or beside others
    missing = {
        m.name for m in METRICS if m not in shown and not m.name.startswith(("baton_gauge_", "baton_job_"))
    }
    assert missing == about
