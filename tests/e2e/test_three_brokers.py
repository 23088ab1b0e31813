"""Brokers of a cluster killed in turn under load: the others take over, and so do our clients."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.deployment import Deployment
from tests.support.kafka_cluster import NODES, KafkaCluster
from tests.support.scale import SCALE, WAYS, chaos_only
from tests.support.table import check_table_result, table_records, table_servable
from tests.support.traffic import Sent
from topicserve.embedded.redis_server import RedisServer

pytestmark = [pytest.mark.kafka, chaos_only]

REPLICAS = 2
RECORDS_A_STEP = 20
LIMIT_SECONDS = 90.0
# Beyond the election of other leaders: the bound.
RECOVERY_SECONDS = 20.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """Share three brokers, all of which run when a test ends."""
    with KafkaCluster() as servers:
        yield servers


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_brokers_killed_in_turn_lose_nothing_and_delay_little(
    cluster: KafkaCluster,
    valkey: RedisServer,
    table: Path,
    tmp_path: Path,
    figures: Callable[[str], None],
    client: str,
    guarantee: str,
) -> None:
    """Each id is answered, exactly once where that is promised, soon after others lead."""
    tables = {"kafka": {"client": client}, "delivery": {"guarantee": guarantee}}
    with Deployment(
        cluster.bootstrap_servers,
        valkey.redis_url,
        tmp_path,
        [table_servable(table)],
        check_table_result,
        tables,
        replication_factor=NODES,
    ) as deployment:
        workers = [deployment.worker() for _ in range(REPLICAS)]
        deployment.start(*workers)
        traffic, make = deployment.traffic, table_records()
        traffic.until(
            lambda: len(traffic.seen.workers) == REPLICAS,
            LIMIT_SECONDS,
            lambda: make(RECORDS_A_STEP),
        )

        recoveries = [
            _kill_and_restart(cluster, victim, deployment, make)
            for victim in _in_turn(SCALE.broker_kills)
        ]
        traffic.until_written(LIMIT_SECONDS)
        traffic.until_answered(LIMIT_SECONDS)

        figures(
            f"{len(recoveries)} brokers killed; seconds to elect "
            f"{_listed(elected for elected, _ in recoveries)}, from there until all was answered "
            f"{_listed(recovered for _, recovered in recoveries)}; {traffic.summary()}"
        )
        assert all(worker.running for worker in workers)
        assert not traffic.seen.dead_letters
        assert traffic.seen.duplicates == 0 or guarantee == "at_least_once"
        assert max(recovered for _, recovered in recoveries) < RECOVERY_SECONDS


def _kill_and_restart(
    cluster: KafkaCluster,
    victim: int,
    deployment: Deployment,
    make: Callable[[int], list[Sent]],
) -> tuple[float, float]:
    """Kill a broker under load and start it again when all is well without it.

    Returns how long the others took to lead its partitions, and how long from there until every
    record was answered that was written before.
    """
    traffic = deployment.traffic
    traffic.for_outcomes(200, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))
    killed_at = time.monotonic()
    cluster.nodes[victim].kill()

    while not cluster.is_led_without(victim):
        traffic.step_unwritten(make(RECORDS_A_STEP))
        assert time.monotonic() < killed_at + LIMIT_SECONDS, "no other broker was elected"
    elected_at = time.monotonic()
    before = traffic.owed_keys()
    while before & traffic.owed_keys():
        traffic.step_unwritten(make(RECORDS_A_STEP))
        assert time.monotonic() < elected_at + LIMIT_SECONDS, (
            f"stuck without broker {victim}: {traffic.summary()}\n{deployment.logs()}"
        )
    recovered_at = time.monotonic()

    cluster.nodes[victim].start()
    traffic.until(cluster.is_in_sync, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))
    return elected_at - killed_at, recovered_at - elected_at


def _in_turn(kills: int) -> list[int]:
    return [number % NODES + 1 for number in range(kills)]


def _listed(seconds: Iterator[float]) -> str:
    return " ".join(f"{one:.1f}" for one in seconds)
