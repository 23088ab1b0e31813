"""The alerts in a real Prometheus that scrapes a real worker, on the embedded servers."""

import signal
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.processes.deployment import Deployment, Tables
from tests.support.processes.scale import chaos_only
from tests.support.prometheus.prometheus_server import PrometheusServer
from tests.support.servables.table import (
    check_table_result,
    table_records,
    table_servable,
    write_table,
)
from tests.support.stages.faults import frozen
from tests.support.traffic.accounts import a_record
from topicserve.embedded.stack import Stack
from topicserve.wire import header_names as names

LIMIT_SECONDS = 60.0


@chaos_only
def test_failures_of_a_worker_fire_their_alerts(tmp_path: Path) -> None:
    """None while all is well; a dead letter, a bad version, the breaker, no broker, no worker."""
    base_path = tmp_path / "table"
    write_table(base_path, 1)
    tables: Tables = {
        "kafka": {"unreachable_timeout_seconds": 3.0},
        "delivery": {"breaker_window_records": 100},
    }
    servables = [table_servable(base_path)]
    with (
        Stack() as stack,
        Deployment(
            stack.bootstrap_servers,
            stack.redis_url,
            tmp_path,
            servables,
            check_table_result,
            tables,
        ) as deployment,
    ):
        worker, traffic, make = deployment.worker(), deployment.traffic, table_records()
        deployment.start(worker)
        with PrometheusServer(urlsplit(worker.address).netloc, tmp_path) as prometheus:

            def fires(*alerts: str) -> None:
                traffic.until(lambda: set(alerts) <= prometheus.firing(), LIMIT_SECONDS)

            def bad(count: int) -> None:
                unknown = {names.SERVABLE: "unknown"}
                traffic.publish([a_record("k1", headers=unknown) for _ in range(count)])

            traffic.until(prometheus.has_scraped, LIMIT_SECONDS)
            traffic.for_outcomes(200, LIMIT_SECONDS, lambda: make(20))
            # Before its first scrape Prometheus knows of no worker.
            traffic.until(lambda: prometheus.firing() == set(), LIMIT_SECONDS)

            bad(1)
            traffic.until(lambda: prometheus.firing() == {"TopicserveDeadLetters"}, LIMIT_SECONDS)
            (base_path / "2").mkdir()
            (base_path / "2" / "table.json").write_text("no table")
            fires("TopicserveVersionFailed")
            bad(400)
            fires("TopicserveBreakerOpen", "TopicserveNothingCommitted")
            with frozen(stack.kafka.pid):
                fires("TopicserveBrokerUnreachable")
            worker.send_signal(signal.SIGKILL)
            fires("TopicserveWorkerDown", "TopicserveNoWorkers")
