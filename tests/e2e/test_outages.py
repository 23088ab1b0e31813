"""Kafka or Redis away, restarted or frozen: nothing is lost, and workers recover by themselves."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.e2e.conftest import Deploy
from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import SCALE, WAYS, chaos_only
from tests.support.servables.table import table_records
from tests.support.stages.faults import frozen
from tests.support.traffic.accounts import Sent, Traffic, a_record
from topicserve.embedded.redis_server import RedisServer

pytestmark = [pytest.mark.kafka, chaos_only]

# Twice a transaction's time, unless the worker is told another.
LONG_OUTAGE_SECONDS = 20.0
LIMIT_SECONDS = 90.0
RECORDS_A_STEP = 40
REDIS_TIMEOUT_SECONDS = 1.0


@pytest.fixture
def own_valkey() -> Iterator[RedisServer]:
    """Start a Redis that a test may take away."""
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_a_restart_of_the_broker_loses_nothing(
    deploy: Deploy, kafka: ApacheKafka, figures: Callable[[str], None], client: str, guarantee: str
) -> None:
    """Workers stay, and go on when it is back; exactly-once stays exactly once."""
    _live_through(lambda _: kafka.restart(), deploy, figures, client, guarantee)


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_a_broker_away_for_longer_than_a_transaction_lasts_loses_nothing(
    deploy: Deploy, kafka: ApacheKafka, figures: Callable[[str], None], client: str, guarantee: str
) -> None:
    """What was open is given up and done again; no worker takes that for a successor's doing.

    Nor does one leave for good that ended its transaction for longer than it may go unpolled.
    """

    def outage(traffic: Traffic) -> None:
        kafka.stop()
        traffic.for_seconds(LONG_OUTAGE_SECONDS)
        kafka.start()

    unpolled = {"max.poll.interval.ms": int(LONG_OUTAGE_SECONDS * 1000 / 2)}
    _live_through(outage, deploy, figures, client, guarantee, unpolled)


def _live_through(
    outage: Callable[[Traffic], None],
    deploy: Deploy,
    figures: Callable[[str], None],
    client: str,
    guarantee: str,
    consumer_settings: Mapping[str, object] | None = None,
) -> None:
    """Have the broker away while records wait; the same workers answer them all."""
    kafka = {"client": client, "consumer_settings": dict(consumer_settings or {})}
    deployment = deploy({"kafka": kafka, "delivery": {"guarantee": guarantee}})
    deployment.start(deployment.worker(), deployment.worker())
    traffic, make = deployment.traffic, table_records()
    traffic.for_outcomes(500, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))
    traffic.publish(make(2_000))

    outage(traffic)
    traffic.for_outcomes(2_500, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))
    traffic.until_answered(LIMIT_SECONDS)

    figures(traffic.summary())
    assert all(worker.running for worker in deployment.workers)
    assert not traffic.seen.dead_letters
    if guarantee == "exactly_once":
        assert traffic.seen.duplicates == 0


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_redis_stopped_and_back_empty_delays_and_loses_nothing(
    deploy: Deploy,
    own_valkey: RedisServer,
    figures: Callable[[str], None],
    client: str,
    guarantee: str,
) -> None:
    """Records wait while it is away; metadata that is gone then is said to be missing."""
    deployment = _with_redis(deploy, own_valkey, client, guarantee)
    traffic, make = deployment.traffic, table_records()
    traffic.publish(make(500))
    traffic.until_answered(LIMIT_SECONDS)

    own_valkey.stop()
    answered = len(traffic.seen.answers)
    traffic.publish(_without_metadata(300))
    traffic.for_seconds(SCALE.outage_seconds)
    answered_meanwhile = len(traffic.seen.answers) - answered
    _assert_waits_for_metadata(deployment)
    own_valkey.start()
    traffic.until_answered(LIMIT_SECONDS)
    traffic.publish(make(200))
    traffic.until_answered(LIMIT_SECONDS)

    figures(traffic.summary())
    assert answered_meanwhile == 0
    assert traffic.seen.metadata == {"found": 700, "missing": 300}
    assert traffic.seen.duplicates == 0
    assert not traffic.seen.dead_letters
    assert all(worker.get("/readyz")[0] == 200 for worker in deployment.workers)


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_a_frozen_redis_delays_and_loses_nothing(
    deploy: Deploy,
    own_valkey: RedisServer,
    figures: Callable[[str], None],
    client: str,
    guarantee: str,
) -> None:
    """Connections that hang are given up; all metadata is joined when it thaws."""
    deployment = _with_redis(deploy, own_valkey, client, guarantee)
    traffic, make = deployment.traffic, table_records()
    traffic.publish(make(500))
    traffic.until_answered(LIMIT_SECONDS)

    with frozen(own_valkey.pid):
        traffic.publish(_without_metadata(300))
        traffic.for_seconds(SCALE.outage_seconds)
        _assert_waits_for_metadata(deployment)
    traffic.publish(make(200))
    traffic.until_answered(LIMIT_SECONDS)

    figures(traffic.summary())
    assert traffic.seen.metadata == {"found": 700, "missing": 300}
    assert traffic.seen.duplicates == 0
    assert not traffic.seen.dead_letters


def _with_redis(deploy: Deploy, valkey: RedisServer, client: str, guarantee: str) -> Deployment:
    deployment = deploy(
        {
            "kafka": {"client": client},
            "delivery": {"guarantee": guarantee},
            "metadata": {"timeout_seconds": REDIS_TIMEOUT_SECONDS},
        },
        redis_url=valkey.redis_url,
    )
    deployment.start(deployment.worker(), deployment.worker())
    return deployment


def _assert_waits_for_metadata(deployment: Deployment) -> None:
    """Assert that the trouble is in the health page, in a metric and in the log."""
    waiting = [w for w in deployment.workers if "metadata store" in w.get("/readyz")[1]]
    assert waiting, deployment.logs()
    for worker in waiting:
        assert worker.metric("topicserve_retries_total", stage="join") > 0
        assert "metadata" in worker.log()


def _without_metadata(records: int) -> list[Sent]:
    """Return records whose metadata no one has stored."""
    return [a_record(f"k{number % 100}") for number in range(records)]
