"""Brokers of a cluster end or fall silent under load: others lead then, and our clients follow."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.kafka.kafka_cluster import NODES, KafkaCluster
from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import SCALE, WAYS, chaos_only
from tests.support.servables.table import check_table_result, table_records, table_servable
from tests.support.traffic.accounts import Sent
from topicserve.embedded.redis_server import RedisServer

pytestmark = [pytest.mark.kafka, chaos_only, pytest.mark.timeout(900)]

REPLICAS = 2
RECORDS_A_STEP = 20
LIMIT_SECONDS = 90.0
# Beyond the election of other leaders: the bound, and what a silent broker may add with
# librdkafka, since a request that is given up after 10 s may be followed by another one to it.
RECOVERY_SECONDS = 20.0
SILENT_SECONDS = {"kafka-python": 0.0, "confluent": 10.0}


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """Share three brokers, all of which run when a test ends."""
    with KafkaCluster() as servers:
        yield servers


@pytest.fixture(params=WAYS, ids="-".join)
def deployment(
    request: pytest.FixtureRequest,
    cluster: KafkaCluster,
    valkey: RedisServer,
    table: Path,
    tmp_path: Path,
) -> Iterator[Deployment]:
    """Open a deployment on the three brokers, with each client and each guarantee."""
    client, guarantee = request.param
    with Deployment(
        cluster.bootstrap_servers,
        valkey.redis_url,
        tmp_path,
        [table_servable(table)],
        check_table_result,
        {"kafka": {"client": client}, "delivery": {"guarantee": guarantee}},
        replication_factor=NODES,
    ) as opened:
        yield opened
        if guarantee == "exactly_once":
            assert opened.traffic.seen.duplicates == 0


def test_brokers_killed_in_turn_lose_nothing_and_delay_little(
    cluster: KafkaCluster, deployment: Deployment, figures: Callable[[str], None]
) -> None:
    """Each id is answered, exactly once where that is promised, soon after others lead."""
    _live_through(
        cluster, deployment, figures, SCALE.broker_kills, ApacheKafka.kill, RECOVERY_SECONDS
    )


def test_brokers_that_fall_silent_lose_nothing_and_delay_little(
    cluster: KafkaCluster,
    deployment: Deployment,
    figures: Callable[[str], None],
    request: pytest.FixtureRequest,
) -> None:
    """So it is where machines are lost or cut off: connections stay, and nothing answers."""
    client, _ = request.node.callspec.params["deployment"]
    limit_seconds = RECOVERY_SECONDS + SILENT_SECONDS[client]
    _live_through(
        cluster, deployment, figures, SCALE.broker_freezes, ApacheKafka.freeze, limit_seconds
    )


def _live_through(
    cluster: KafkaCluster,
    deployment: Deployment,
    figures: Callable[[str], None],
    times: int,
    harm: Callable[[ApacheKafka], None],
    limit_seconds: float,
) -> None:
    """Take one broker after the other away; the same workers answer everything."""
    workers = [deployment.worker() for _ in range(REPLICAS)]
    deployment.start(*workers)
    traffic, make = deployment.traffic, table_records()
    traffic.until(
        lambda: len(traffic.seen.workers) == REPLICAS, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP)
    )

    victims = (number % NODES + 1 for number in range(times))
    recoveries = [_do_without(cluster, victim, harm, deployment, make) for victim in victims]
    traffic.until_written(LIMIT_SECONDS)
    traffic.until_answered(LIMIT_SECONDS)

    figures(
        f"{times} brokers; seconds to elect {_listed(elected for elected, _ in recoveries)}, from "
        f"there until all was answered {_listed(recovered for _, recovered in recoveries)}; "
        f"{traffic.summary()}"
    )
    assert all(worker.running for worker in workers)
    assert not traffic.seen.dead_letters
    assert max(recovered for _, recovered in recoveries) < limit_seconds


def _do_without(
    cluster: KafkaCluster,
    victim: int,
    harm: Callable[[ApacheKafka], None],
    deployment: Deployment,
    make: Callable[[int], list[Sent]],
) -> tuple[float, float]:
    """Take a broker away under load, and start it again when all is well without it.

    Returns how long the others took to lead its partitions, and how long from there until every
    record was answered that was published before.
    """
    traffic, node = deployment.traffic, cluster.nodes[victim]

    def more() -> list[Sent]:
        return make(RECORDS_A_STEP)

    traffic.for_outcomes(200, LIMIT_SECONDS, more)
    harmed_at = time.monotonic()
    harm(node)
    try:
        traffic.until(lambda: cluster.is_led_without(victim), LIMIT_SECONDS, more, written=False)
        elected_at = time.monotonic()
        before = traffic.owed_keys()
        traffic.until(lambda: not before & traffic.owed_keys(), LIMIT_SECONDS, more, written=False)
        recovered_at = time.monotonic()
    finally:
        node.kill()
        node.start()
    traffic.until(cluster.is_in_sync, LIMIT_SECONDS, more)
    return elected_at - harmed_at, recovered_at - elected_at


def _listed(seconds: Iterable[float]) -> str:
    return " ".join(f"{one:.1f}" for one in seconds)
