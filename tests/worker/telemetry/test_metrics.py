import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tools.reference_pages import CHECKOUT, MetricRow, metric_rows
from topicserve.wire.dead_letter import Reason
from topicserve.worker.telemetry.metrics import WorkerMetrics, new_registry
from topicserve.worker.telemetry.servable_metrics import ServableMetrics

UNITS = ("seconds", "bytes", "records", "rows", "partitions")
SMALL_SETS = {
    *("topic", "partition", "servable", "version", "reason", "status", "cause", "outcome"),
    *("stage", "ended_by", "event", "state", "replica"),
}
ROWS = metric_rows()


def sources(*folders: str) -> str:
    """Return the text of all modules but those that declare the metrics."""
    paths = [path for folder in folders for path in (CHECKOUT / folder).rglob("*.py")]
    own = {*(CHECKOUT / "topicserve/worker/telemetry").glob("*metrics.py"), Path(__file__)}
    return "\n".join(path.read_text() for path in paths if path not in own)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_names_follow_prometheus(row: MetricRow) -> None:
    """Our prefix, `_total` on counters alone, and the unit last on whatever has one."""
    assert re.fullmatch(r"topicserve_[a-z_]+", row.name)
    assert row.name.endswith("_total") == (row.kind == "counter")
    if row.kind == "histogram":
        assert row.name.endswith(UNITS)
    assert row.meaning.endswith(".")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_labels_have_few_values(row: MetricRow) -> None:
    """No record id, offset or error text becomes a time series of its own."""
    assert set(row.labels) <= SMALL_SETS


def test_names_are_declared_once() -> None:
    """Nowhere else in the program is a metric's name written."""
    named = re.findall(r'"topicserve_\w+"', sources("topicserve"))

    assert [name for name in named if name.strip('"') in {row.name for row in ROWS}] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_metric_is_looked_at_by_a_test(row: MetricRow) -> None:
    """By its attribute, or by the name that Prometheus sees: none is a promise no one keeps."""
    name = row.name.removeprefix("topicserve_").removesuffix("_total")

    assert re.search(rf"\.{row.attribute}\b|{name}", sources("tests"))


def literal_labels() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield metric and values of each `metric.labels(...)` whose values stand in the code."""
    for path in (CHECKOUT / "topicserve/worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(ast.Attribute(attr=metric), "labels"), args=args):
                    if args and all(isinstance(arg, ast.Constant) for arg in args):
                        values = [arg.value for arg in args if isinstance(arg, ast.Constant)]
                        yield metric, tuple(map(str, values))


@pytest.mark.parametrize(("metric", "values"), sorted(set(literal_labels())))
def test_series_with_known_labels_are_there_from_the_start(
    metric: str, values: tuple[str, ...]
) -> None:
    """At 0: Prometheus sees no increase in a counter that appears with its first event."""
    declared = getattr(WorkerMetrics(CollectorRegistry()), metric)

    assert values in declared._metrics


def test_every_reason_of_a_dead_letter_is_counted_from_the_start() -> None:
    """Whatever is added to the reasons."""
    registry = CollectorRegistry()
    WorkerMetrics(registry)

    for reason in Reason:
        labels = {"reason": reason.value}
        assert registry.get_sample_value("topicserve_dead_letters_total", labels) == 0


def test_a_servables_failures_are_counted_from_the_start() -> None:
    """Also one that never has a version: the alerts count on it."""
    registry = CollectorRegistry()
    ServableMetrics(registry, ["digits"])
    worker = WorkerMetrics(registry)
    worker.expect_servables(["digits"])
    worker.expect_topics(["in"])

    for name, labels in (
        ("servable_failures_total", {"servable": "digits", "reason": "DATA_LOSS"}),
        ("servable_transitions_total", {"servable": "digits", "state": "START"}),
        ("predict_failures_total", {"servable": "digits", "reason": "INTERNAL"}),
        ("shadow_comparisons_total", {"servable": "digits", "outcome": "different"}),
        ("shadow_comparisons_total", {"servable": "digits", "outcome": "unavailable"}),
        ("canary_records_total", {"servable": "digits"}),
        ("canary_fallbacks_total", {"servable": "digits"}),
        ("rejected_versions_total", {"servable": "digits"}),
        ("guarded_records_total", {"servable": "digits"}),
        ("unjoined_signatures_total", {"servable": "digits"}),
        ("records_consumed_total", {"topic": "in"}),
    ):
        assert registry.get_sample_value(f"topicserve_{name}", labels) == 0


def test_two_workers_metrics_do_not_meet() -> None:
    """Each has its registry: none is global."""
    first, second = CollectorRegistry(), CollectorRegistry()
    WorkerMetrics(first).records_consumed.labels("digits").inc(3)
    WorkerMetrics(second)

    name = "topicserve_records_consumed_total"
    assert first.get_sample_value(name, {"topic": "digits"}) == 3
    assert second.get_sample_value(name, {"topic": "digits"}) is None


def test_the_processs_own_metrics_come_along() -> None:
    """Memory and CPU are asked for first when something is slow."""
    registry = new_registry()
    ServableMetrics(registry)

    text = generate_latest(registry).decode()

    assert "process_resident_memory_bytes " in text
    assert "python_info{" in text
