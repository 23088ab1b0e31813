"""The whole job on the embedded servers: what works from a fresh clone with Python alone."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka.topics import create_again
from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import EVERY_WAY
from tests.support.servables.table import check_table_result, table_records, table_servable
from topicserve.embedded.stack import Stack

LIMIT_SECONDS = 60.0
RECORDS = 2_000


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Share one embedded Kafka and Redis."""
    with Stack() as servers:
        yield servers


@pytest.mark.parametrize(("client", "guarantee"), EVERY_WAY)
def test_records_become_results_and_a_killed_worker_loses_none(
    stack: Stack, table: Path, tmp_path: Path, client: str, guarantee: str
) -> None:
    """The job is done by real processes; what a killed one had begun, it does when it is back.

    A table needs no TensorFlow, so no worker has it in memory.
    """
    tables = {"kafka": {"client": client}, "delivery": {"guarantee": guarantee}}
    servables = [table_servable(table)]
    with Deployment(
        stack.bootstrap_servers, stack.redis_url, tmp_path, servables, check_table_result, tables
    ) as deployment:
        workers = [deployment.static_worker() for _ in range(2)]
        deployment.start(*workers)
        traffic, make = deployment.traffic, table_records()
        traffic.until(lambda: len(traffic.seen.workers) == 2, LIMIT_SECONDS, lambda: make(20))

        traffic.publish(make(RECORDS))
        workers[0].kill()
        in_flight = traffic.uncommitted_records(deployment.group_id)
        workers[0].start()
        traffic.until_answered(LIMIT_SECONDS)

        for libraries in (worker.libraries() for worker in workers):
            assert any("/numpy/" in path for path in libraries)
            assert not any("tensorflow" in path for path in libraries)
        assert not traffic.seen.dead_letters
        assert traffic.seen.metadata.keys() == {"found"}
        assert traffic.seen.duplicates <= (0 if guarantee == "exactly_once" else in_flight)


@pytest.mark.parametrize(("client", "guarantee"), EVERY_WAY)
def test_a_topic_that_is_created_again_is_read_from_its_beginning(
    stack: Stack, table: Path, tmp_path: Path, client: str, guarantee: str
) -> None:
    """While the worker runs, and by the one after it: no offset of the old topic reaches it."""
    tables = {"kafka": {"client": client}, "delivery": {"guarantee": guarantee}}
    servables = [table_servable(table)]
    with Deployment(
        stack.bootstrap_servers, stack.redis_url, tmp_path, servables, check_table_result, tables
    ) as deployment:
        worker, traffic, make = deployment.worker(), deployment.traffic, table_records()
        deployment.start(worker)
        traffic.publish(make(60))
        traffic.until_answered(LIMIT_SECONDS)

        create_again(stack.bootstrap_servers, deployment.topics.input)
        for count in (5, 5):
            traffic.publish(make(count))
            traffic.until_answered(LIMIT_SECONDS)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 0
        traffic.publish(make(100))
        deployment.start(worker)
        traffic.until_answered(LIMIT_SECONDS)

        assert not traffic.seen.dead_letters
        assert traffic.seen.duplicates == 0
        traffic.until(lambda: traffic.uncommitted_records(deployment.group_id) == 0, LIMIT_SECONDS)
