"""The Grafana dashboard, the example alerts and the operator guide speak of the metrics that a scrape really has."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest
import yaml

from tests.conftest import Directory
from tests.test_metrics import Scrape, begin_replay, scraped

TOP = Path(__file__).parents[1]
DASHBOARD = json.loads((TOP / "ops" / "grafana.json").read_text())
ALERTS = yaml.safe_load((TOP / "ops" / "alerts.yml").read_text())

ABSENT_FROM_DASHBOARD: set[str] = set()
"""Metrics that are not on the dashboard, with the reason for each. There is none today."""


@pytest.fixture
async def everything(directory: Directory, owner: asyncpg.Connection) -> Scrape:
    """A scrape with a sample of every metric."""
    await directory.create("ann")
    await begin_replay(owner, "users", 30, 40)
    await scraped(directory.client)
    return await scraped(directory.client)


def expressions_of_dashboard() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def expressions_of_alerts() -> list[str]:
    return [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


def names_in(expressions: Sequence[str]) -> set[str]:
    return {name for expression in expressions for name in re.findall(r"\brollbook_\w+", expression)}


def test_the_dashboard_and_the_alerts_ask_only_for_metrics_that_there_are(everything: Scrape) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        assert names_in([variable.get("definition", "")]) <= everything.names
    assert names_in(expressions_of_dashboard()) <= everything.names
    assert names_in(expressions_of_alerts()) <= everything.names


def test_every_metric_is_on_the_dashboard_or_left_out_for_a_reason(everything: Scrape) -> None:
    shown = names_in(expressions_of_dashboard())

    assert {name for name in everything.names - shown if name not in ABSENT_FROM_DASHBOARD} == set()
    assert not shown & ABSENT_FROM_DASHBOARD


def test_the_dashboard_and_the_alerts_go_by_labels_and_values_that_there_are(everything: Scrape) -> None:
    given_by_prometheus = {"job", "instance"}
    known = {label for sample in everything.samples for label in sample.labels} | given_by_prometheus
    for expression in expressions_of_dashboard() + expressions_of_alerts():
        for label in re.findall(r"(\w+)!?=~?\"", expression) + re.findall(r"\w+", " ".join(_grouped_by(expression))):
            assert label in known, expression
        for name, label, value in re.findall(r"(rollbook_\w+)\{[^}]*?(\w+)!?=\"(\w+)\"", expression):
            assert label == "status" or value in everything.labels(name, label), expression


def _grouped_by(expression: str) -> list[str]:
    return re.findall(r"\bby \(([^)]*)\)", expression)


def test_the_dashboard_is_taken_by_any_grafana_that_has_a_prometheus() -> None:
    variable = DASHBOARD["templating"]["list"][0]
    panels = DASHBOARD["panels"]

    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert {json.dumps(panel["datasource"]) for panel in panels if panel["type"] != "row"} == {
        json.dumps({"type": "prometheus", "uid": f"${{{variable['name']}}}"})
    }
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [
        "Requests",
        "Refusals",
        "Writes",
        "Followers",
        "Replay",
        "Pool and tokens",
        "Directories",
    ]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert "id" not in DASHBOARD


def test_every_alert_says_what_to_do() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]

    assert [rule["alert"] for rule in rules] == [
        "RollbookDatabaseDown",
        "RollbookFollowerParked",
        "RollbookFollowerLags",
        "RollbookDirectorySilent",
        "RollbookManyRefusals",
    ]
    for rule in rules:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_the_operator_guide_lists_every_metric_with_its_labels(everything: Scrape) -> None:
    guide = (TOP / "docs" / "operator-guide.md").read_text().partition("## Metrics\n")[2]
    rows = dict(re.findall(r"^\| `(rollbook_\w+)` \|([^|]*)\|", guide, re.MULTILINE))
    labels: dict[str, set[str]] = {}
    for family in everything.families:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels[name] = {label for sample in family.samples for label in sample.labels} - {"le"}

    assert {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows.items()} == labels
