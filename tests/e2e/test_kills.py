"""Workers that die by SIGKILL at any moment, on Apache Kafka."""

import random
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Deploy
from tests.support.apache_kafka import ApacheKafka
from tests.support.deployment import Deployment
from tests.support.scale import CLIENTS, EVERY_WAY, SCALE, WAYS, chaos_only
from tests.support.table import table_records
from tests.support.traffic import topic_reader

pytestmark = pytest.mark.kafka

RECORDS_A_STEP = 60
REPLICAS = 3
LIMIT_SECONDS = 60.0
# The bound for a killed replica's partitions, and what the reading may add to it.
TAKE_OVER_SECONDS = 12.0
READING_SECONDS = 3.0
# How long a transaction is held open for the test, less than Kafka lets it be.
OPEN_SECONDS = 8.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_every_record_is_answered_whenever_workers_are_killed(
    deploy: Deploy, figures: Callable[[str], None], client: str, guarantee: str
) -> None:
    """Kills under load lose nothing; exactly-once shows each result once, the other counts."""
    deployment = deploy({"kafka": {"client": client}, "delivery": {"guarantee": guarantee}})
    workers = [deployment.static_worker() for _ in range(REPLICAS)]
    deployment.start(*workers)
    moments = random.Random(20_261_124)

    in_flight = _kill_at_random(deployment, moments)

    traffic = deployment.traffic
    traffic.until_answered(LIMIT_SECONDS)
    seen = traffic.seen
    figures(f"{SCALE.kills} kills, {traffic.summary()}, at most {in_flight} in flight when killed")
    assert not seen.dead_letters
    assert seen.duplicates <= (0 if guarantee == "exactly_once" else in_flight)


def _kill_at_random(deployment: Deployment, moments: random.Random) -> int:
    """Kill and restart under load; return how many records could have been in flight in all."""
    traffic, make = deployment.traffic, table_records()
    in_flight = 0
    for _ in range(SCALE.kills):
        traffic.for_outcomes(moments.randint(1, 1_500), LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))
        victim = moments.choice(deployment.workers)
        assert victim.running, f"ended by itself with {victim.exit_code}\n{victim.log_tail()}"
        victim.kill()
        # What the victim had published and not committed is part of what is uncommitted now: its
        # partitions cannot have been given to anybody yet.
        in_flight += traffic.uncommitted_records(deployment.group_id)
        victim.start()
    return in_flight


@chaos_only
@pytest.mark.parametrize(("client", "guarantee"), EVERY_WAY)
def test_partitions_of_a_killed_worker_are_served_again_soon(
    deploy: Deploy, figures: Callable[[str], None], client: str, guarantee: str
) -> None:
    """With default settings the others take over within 12 s, an open transaction or not."""
    deployment = deploy({"kafka": {"client": client}, "delivery": {"guarantee": guarantee}})
    workers = [deployment.worker() for _ in range(2)]
    deployment.start(*workers)
    traffic, make = deployment.traffic, table_records()
    traffic.until(lambda: len(traffic.seen.workers) == 2, LIMIT_SECONDS, lambda: make(8))
    # Polled, perhaps published, not yet committed: the worst moment.
    traffic.publish(make(200))

    workers[0].kill()
    traffic.publish(make(200))
    traffic.until_answered(TAKE_OVER_SECONDS + READING_SECONDS)

    figures(traffic.summary())
    assert not traffic.seen.dead_letters


@pytest.mark.parametrize("membership", [{}, {"group_instance_id": "one-place"}])
@pytest.mark.parametrize("client", CLIENTS)
def test_an_open_transaction_of_a_killed_worker_is_never_seen(
    deploy: Deploy, kafka: ApacheKafka, client: str, membership: dict[str, str]
) -> None:
    """What died uncommitted is done again within 12 s, and a committed reader sees each once."""
    deployment = deploy(
        {"kafka": {"client": client, **membership}, "delivery": {"guarantee": "exactly_once"}}
    )
    worker = deployment.worker({"delivery": {"commit_interval_seconds": OPEN_SECONDS}})
    deployment.start(worker)
    records = table_records()(500)
    traffic = deployment.traffic
    traffic.publish(records)
    _wait_for_uncommitted(kafka.bootstrap_servers, deployment.topics.output, len(records))

    worker.kill()
    seen_of_the_dead = len(traffic.seen.answers)
    successor = deployment.worker()
    deployment.start(successor)
    traffic.until_answered(TAKE_OVER_SECONDS + READING_SECONDS)

    assert seen_of_the_dead == 0
    assert traffic.seen.duplicates == 0
    assert traffic.seen.workers == {successor.worker_id: len(records)}


def _wait_for_uncommitted(bootstrap_servers: str, topic: str, records: int) -> None:
    reader = topic_reader(bootstrap_servers, "read_uncommitted", topic)
    try:
        seen = 0
        while seen < records:
            messages = reader.consume(records, LIMIT_SECONDS)
            assert messages, f"{seen} of {records} results were written within {LIMIT_SECONDS} s"
            seen += len(messages)
    finally:
        reader.close()
