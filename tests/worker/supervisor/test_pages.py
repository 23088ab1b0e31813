import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stages.records import ManualClock
from topicserve.worker.config.schema import HttpConfig
from topicserve.worker.http.pages import Page
from topicserve.worker.http.server import open_server
from topicserve.worker.supervisor.pages import (
    Fetched,
    ReplicaCollector,
    Replicas,
    SupervisorPages,
    fetch,
)
from topicserve.worker.telemetry.metrics import WorkerMetrics
from topicserve.worker.telemetry.supervisor_metrics import SupervisorMetrics


def metrics_of(consumed: int) -> Fetched:
    """Return what a worker's /metrics answers after so many records."""
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.records_consumed.labels("digits").inc(consumed)
    metrics.record_seconds.observe(0.2, consumed)
    metrics.build.info({"worker_id": f"w{consumed}"})
    encode, content_type = choose_encoder("application/openmetrics-text; version=1.0.0")
    return Fetched(200, content_type, encode(registry))


def health(*problems: str) -> Fetched:
    """Return what a worker's /readyz answers."""
    body = json.dumps({"ok": not problems, "problems": problems}).encode()
    return Fetched(503 if problems else 200, "application/json", body)


def pages(
    answers: Mapping[str, Fetched], addresses: tuple[str, ...] = ("a", "b")
) -> SupervisorPages:
    """Return the pages of a supervisor whose replicas answer this; others do not answer."""
    registry = CollectorRegistry()
    metrics = SupervisorMetrics(registry)
    replicas = Replicas(lambda: addresses, lambda url: answers.get(url, Fetched(0)))
    registry.register(ReplicaCollector(replicas, metrics))
    return SupervisorPages(registry, replicas)


def samples(page: Page) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the values of a page of metrics by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.body.decode())
        for sample in family.samples
    }


def test_each_replicas_metrics_come_with_its_number() -> None:
    """Counters, histograms and texts alike, each metric once."""
    page = pages({"a/metrics": metrics_of(3), "b/metrics": metrics_of(5)}).get("/metrics")

    found = samples(page)
    topic = ("topic", "digits")
    assert found["topicserve_records_consumed_total", (("replica", "0"), topic)] == 3
    assert found["topicserve_records_consumed_total", (("replica", "1"), topic)] == 5
    assert found["topicserve_record_seconds_count", (("replica", "1"),)] == 5
    assert found["topicserve_build_info", (("replica", "0"), ("worker_id", "w3"))] == 1
    assert page.body.count(b"# TYPE topicserve_records_consumed_total ") == 1


def test_a_replica_that_does_not_answer_is_down_and_the_others_are_there() -> None:
    """Also one that ended in the middle of its answer."""
    cut = metrics_of(3)._replace(body=metrics_of(3).body[:-100])
    page = pages({"a/metrics": cut, "b/metrics": metrics_of(5)}, ("a", "b", "")).get("/metrics")

    found = samples(page)
    assert [found["topicserve_replica_up", (("replica", n),)] for n in "012"] == [0, 1, 0]
    assert not any(("replica", "0") in labels for name, labels in found if "records" in name)


def test_openmetrics_is_given_where_asked_for() -> None:
    """As a single worker does."""
    page = pages({"a/metrics": metrics_of(1)}, ("a",)).get(
        "/metrics", "application/openmetrics-text; version=1.0.0"
    )

    assert page.content_type.startswith("application/openmetrics-text")
    assert page.body.endswith(b"# EOF\n")


def test_ready_means_all_of_them() -> None:
    """What is missing is said with the replica's number."""
    page = pages({"a/readyz": health(), "b/readyz": health("no version", "no store")}).get(
        "/readyz"
    )

    assert page.status == 503
    assert json.loads(page.body) == {
        "ok": False,
        "problems": ["replica 1: no version", "replica 1: no store"],
    }
    assert pages({"a/readyz": health(), "b/readyz": health()}).get("/readyz").status == 200


def test_a_replica_that_is_gone_is_not_ready_and_no_reason_to_end_the_supervisor() -> None:
    """It is about to be started again."""
    answers = {"a/readyz": health(), "a/livez": health()}

    ready, live = pages(answers).get("/readyz"), pages(answers).get("/livez")

    assert json.loads(ready.body)["problems"] == ["replica 1: does not answer"]
    assert live.status == 200


def test_a_stuck_replica_fails_livez() -> None:
    """As it would alone; garbage counts as a problem as well."""
    page = pages({"a/livez": health("stuck"), "b/livez": Fetched(500, "", b"<html>")}).get("/livez")

    assert page.status == 503
    assert json.loads(page.body)["problems"] == ["replica 0: stuck", "replica 1: answers 500"]


def test_status_comes_from_whichever_replica_answers() -> None:
    """All serve the same."""
    answers = {"b/v1/models/x": Fetched(404, "application/json", b"{}")}

    assert pages(answers).get("/v1/models/x?y") == Page(404, "application/json", b"{}")
    assert pages({}).get("/v1/models/x").status == 503


@pytest.mark.parametrize("status", [200, 503])
def test_a_real_replica_is_asked_over_http(status: int) -> None:
    """An error status is an answer too."""
    server = open_server(HttpConfig(), lambda path, _: Page(status, "text/x", path.encode()))

    assert fetch(server.address + "/readyz") == Fetched(status, "text/x", b"/readyz")
    server.close()
    assert fetch(server.address + "/readyz") == Fetched(0)


def test_replicas_are_asked_at_the_same_time() -> None:
    """A slow one costs its own time only, not that of all before it."""
    both = threading.Barrier(2, timeout=10)

    def wait_for_the_other(url: str) -> Fetched:
        both.wait()
        return Fetched(200, "", url.encode())

    answers = Replicas(lambda: ("a", "b"), wait_for_the_other).ask_all("/x")

    assert [answer.body for answer in answers] == [b"a/x", b"b/x"]


def test_a_replica_that_is_silent_for_too_long_is_a_reason_to_start_again() -> None:
    """One that has just ended or still starts is none, nor is one that answers again."""
    clock = ManualClock()
    answers = {"a/livez": health(), "b/livez": health()}
    addresses = ["a", "b", ""]
    replicas = Replicas(lambda: addresses, lambda url: answers.get(url, Fetched(0)))
    pages = SupervisorPages(CollectorRegistry(), replicas, 160, clock)

    def livez() -> object:
        return json.loads(pages.get("/livez").body)["problems"]

    assert livez() == []
    del answers["b/livez"]
    clock.advance(160)
    assert livez() == []
    clock.advance(1)
    assert livez() == ["replica 1: has not answered for 161 seconds"]
    addresses[1] = "b2"
    assert livez() == []
    answers["b2/livez"] = health()
    clock.advance(200)
    assert livez() == []


def test_a_login_in_the_url_is_sent_as_basic_authentication() -> None:
    """A proxy may ask for it; the address itself is asked without it."""
    asked: list[tuple[str, str | None]] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            answers = [
                fetch(f"http://{login}127.0.0.1:{server.server_port}/readyz")
                for login in ("", "user:p%40ss@")
            ]
        finally:
            server.shutdown()

    assert [answer.status for answer in answers] == [200, 200]
    assert asked == [("/readyz", None), ("/readyz", "Basic dXNlcjpwQHNz")]
