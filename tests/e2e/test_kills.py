"""Workers that die by SIGKILL at any moment, on Apache Kafka."""

import random
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Deploy
from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import CHAOS, CLIENTS, SCALE, WAYS, chaos_only
from tests.support.servables.table import table_records
from tests.support.traffic.accounts import topic_reader

pytestmark = pytest.mark.kafka

RECORDS_A_STEP = 60
REPLICAS = 3
LIMIT_SECONDS = 60.0
# The bound for a killed replica's partitions, and what the reading may add to it.
TAKE_OVER_SECONDS = 12.0
READING_SECONDS = 3.0
# A member that keeps its place fences its own past self; any other's transaction must time out.
MEMBERSHIPS = [{"group_instance_id": "one-place"}, *([{}] if CHAOS else [])]
ATTEMPTS = 5
READ_RECORDS = 10_000


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
@pytest.mark.parametrize(("client", "guarantee"), WAYS)
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


@pytest.mark.parametrize("membership", MEMBERSHIPS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_transaction_cut_off_by_a_kill_is_never_seen(
    deploy: Deploy, kafka: ApacheKafka, client: str, membership: dict[str, str]
) -> None:
    """What died uncommitted is done again within 12 s, and a committed reader sees each once."""
    deployment = deploy(
        {"kafka": {"client": client, **membership}, "delivery": {"guarantee": "exactly_once"}}
    )
    worker = deployment.worker()
    deployment.start(worker)
    traffic, make = deployment.traffic, table_records()
    written = _Written(kafka.bootstrap_servers, deployment.topics.output)

    # A kill may come just too late and find the transaction committed: then once more.
    for _ in range(ATTEMPTS):
        traffic.publish(make(4_000))
        written.wait_for_one_more()
        worker.kill()
        worker.start()
        traffic.until_answered(TAKE_OVER_SECONDS + READING_SECONDS)
        written.read_all()
        if written.records > traffic.seen.outcomes:
            break
    written.close()

    assert written.records > traffic.seen.outcomes, "no kill met an open transaction"
    assert traffic.seen.duplicates == 0


class _Written:
    """Counts all results that were written to a topic, those of aborted transactions included."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self.records = 0
        self._reader = topic_reader(bootstrap_servers, "read_uncommitted", topic)
        self.close = self._reader.close

    def wait_for_one_more(self) -> None:
        """Return as soon as there is another one."""
        message = self._reader.poll(LIMIT_SECONDS)
        assert message is not None, f"nothing was written within {LIMIT_SECONDS} s"
        assert message.error() is None
        self.records += 1

    def read_all(self) -> None:
        """Read until no more come."""
        while messages := self._reader.consume(READ_RECORDS, 1.0):
            self.records += len(messages)
