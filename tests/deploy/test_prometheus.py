import json
import re
from typing import Any

import pytest
import yaml

from tests.support.processes.programs import need_program, run_program
from tools.reference_pages import CHECKOUT, metric_rows

CONFIG = CHECKOUT / "deploy/prometheus/prometheus.yml"
ALERTS = CHECKOUT / "deploy/prometheus/alerts.yml"
DASHBOARD = CHECKOUT / "deploy/grafana/dashboards/topicserve.json"
METRICS_PAGE = CHECKOUT / "docs/metrics.md"

_NAME = re.compile(r"\b(?:topicserve|process|python)_[a-z_]+\b")
_LABELS = re.compile(r"(\w+)\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without) \(([^)]*)\)")
# Prometheus' own, and those of our own process metrics.
_TARGET_LABELS = {"job", "instance", "replica", "le"}


def exposed() -> dict[str, set[str]]:
    """Return every name of a series that a worker exposes, with its labels."""
    names = {
        "process_cpu_seconds_total": set[str](),
        "process_resident_memory_bytes": set[str](),
    }
    for row in metric_rows():
        labels = set(row.labels)
        if row.kind == "histogram":
            names |= {row.name + end: labels for end in ("_bucket", "_sum", "_count")}
        else:
            names[row.name] = labels
    return names


def alert_expressions() -> list[str]:
    """Return the expressions of all alerts."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels that show something."""
    return [one for one in json.loads(DASHBOARD.read_text())["panels"] if one["type"] != "row"]


def panel_expressions() -> list[str]:
    """Return the expressions of all panels."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def page_expressions() -> list[str]:
    """Return the queries of the metrics' page."""
    _, _, queries = METRICS_PAGE.read_text().partition("## What to look at")
    return re.findall(r"`([^`]*\([^`]*)`", queries)


EXPRESSIONS = [*alert_expressions(), *panel_expressions(), *page_expressions()]


def test_there_is_something_to_check() -> None:
    """The pages have not moved away from under the tests."""
    assert len(alert_expressions()) > 5
    assert len(panel_expressions()) > 20
    assert len(page_expressions()) > 5


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_in_an_expression_exists(expression: str) -> None:
    """A renamed metric would leave an alert silent for ever."""
    known = exposed()

    assert [name for name in _NAME.findall(expression) if name not in known] == []


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_label_in_an_expression_exists(expression: str) -> None:
    """The metric that it selects has it, or, where series are grouped, one of them has."""
    known = exposed()
    names = _NAME.findall(expression)

    for name, selectors in _LABELS.findall(expression):
        chosen = set(re.findall(r"(\w+)\s*[=!]", selectors))
        if name in known:
            assert chosen <= known[name] | _TARGET_LABELS
    every = set().union(*(known[name] for name in names), _TARGET_LABELS)
    for group in _GROUPING.findall(expression):
        assert {label.strip() for label in group.split(",")} <= every


def test_panels_do_not_overlap() -> None:
    """Grafana would push them about."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells


def test_every_panel_says_what_it_shows() -> None:
    """In a sentence, and in the right unit."""
    for panel in panels():
        assert panel["description"].endswith(".")
        first = _NAME.findall(panel["targets"][0]["expr"])[0]
        seconds = first.endswith(("_seconds", "_seconds_bucket"))
        assert (panel["fieldConfig"]["defaults"]["unit"] == "s") == seconds


def test_prometheus_itself_accepts_configuration_and_alerts() -> None:
    """Its own tool says so."""
    promtool = need_program("promtool", "prometheus")

    run_program(promtool, "check", "config", str(CONFIG))


def test_alerts_name_only_labels_that_their_expression_keeps() -> None:
    """Otherwise the message has a hole."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
            grouped = _GROUPING.findall(rule["expr"])
            kept = (
                {label.strip() for label in ",".join(grouped).split(",")}
                if grouped
                else set().union(*exposed().values(), _TARGET_LABELS)
            )
            assert used <= kept, rule["alert"]


def test_the_workers_are_found_by_their_service_name() -> None:
    """However many there are: the name has an address for each."""
    (scrape,) = yaml.safe_load(CONFIG.read_text())["scrape_configs"]
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    (discovery,) = scrape["dns_sd_configs"]

    assert set(discovery["names"]) <= compose["services"].keys()
    assert [str(discovery["port"])] == compose["services"]["worker"]["expose"]
