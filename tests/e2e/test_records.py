"""What becomes of records that are bad, late, or without metadata, on Apache Kafka."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from tests.e2e.conftest import Deploy
from tests.support.processes.scale import SCALE, WAYS, chaos_only
from tests.support.servables.network import (
    NETWORK,
    check_network_result,
    network_records,
    network_servable,
)
from tests.support.servables.table import TABLE, check_table_result, table_records, table_servable
from tests.support.stages.fuzz import ODD_NUMBERS, fuzzed, with_odd_number
from tests.support.traffic.accounts import METADATA_PREFIX, Sent, a_record
from topicserve.embedded.redis_server import RedisServer
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import Reason
from topicserve.wire.result import Result

pytestmark = pytest.mark.kafka

LIMIT_SECONDS = 60.0
CHUNK_RECORDS = 1_000
# Allocators keep some of what they were once given; a leak of 20,000 records would be more.
MEMORY_SLACK_BYTES = 16 * 1024 * 1024


@chaos_only
@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_fuzzed_records_never_disturb_the_good_ones(
    deploy: Deploy,
    networks: Path,
    table: Path,
    figures: Callable[[str], None],
    client: str,
    guarantee: str,
) -> None:
    """Each is answered or given up with a reason; good ones are all answered; memory is flat."""
    good: set[bytes] = set()

    def check(sent: Sent, result: Result) -> None:
        if sent.key in good:
            judge = check_network_result if result.servable == NETWORK else check_table_result
            judge(sent, result)

    delivery = {"max_dead_letter_share": 1.0, "unknown_version_timeout_seconds": 0.0}
    deployment = deploy(
        {"kafka": {"client": client}, "delivery": delivery | {"guarantee": guarantee}},
        servables=[table_servable(table), network_servable(networks)],
        check=check,
    )
    worker = deployment.worker()
    deployment.start(worker)
    traffic, rng = deployment.traffic, random.Random(1)
    make_keys, make_rows = table_records({names.SERVABLE: TABLE}), network_records()

    memory_bytes = []
    for _ in range(SCALE.fuzzed_records // CHUNK_RECORDS):
        fresh = make_keys(CHUNK_RECORDS // 20) + make_rows(CHUNK_RECORDS // 20)
        good |= {record.key for record in fresh}
        mixed = fresh + [fuzzed(rng) for _ in range(CHUNK_RECORDS)]
        rng.shuffle(mixed)
        traffic.publish(mixed)
        traffic.until_answered(LIMIT_SECONDS)
        memory_bytes.append(psutil.Process(worker.pid).memory_info().rss)

    quarter = len(memory_bytes) // 4
    grown_bytes = memory_bytes[-1] - memory_bytes[quarter]
    figures(f"{traffic.summary()}, RSS grew by {grown_bytes / 2**20:.1f} MiB")
    assert good <= traffic.seen.answers.keys()
    assert traffic.seen.duplicates == 0
    assert set(traffic.seen.reasons.values()) <= {reason.value for reason in Reason}
    assert len(traffic.seen.dead_letters) > SCALE.fuzzed_records // 2
    assert grown_bytes < MEMORY_SLACK_BYTES


def test_an_odd_number_is_judged_alone_among_good_rows(deploy: Deploy, networks: Path) -> None:
    """Whatever stands for one of a row's numbers, the batch that it came in is answered."""
    deployment = deploy(servables=[network_servable(networks)], check=lambda *_: None)
    deployment.start(deployment.worker())
    traffic, make = deployment.traffic, network_records()
    good: set[bytes] = set()

    for place, odd in enumerate(ODD_NUMBERS):
        rows = make(30)
        good |= {row.key for row in rows}
        traffic.publish([*rows[:15], with_odd_number(odd, place), *rows[15:]])
        traffic.until_answered(LIMIT_SECONDS)

    assert good <= traffic.seen.answers.keys()
    assert set(traffic.seen.reasons.values()) <= {"invalid_input", "invalid_record"}


def test_bad_records_are_given_up_one_by_one_with_their_reasons(deploy: Deploy) -> None:
    """Each fault has its own reason, and the good records of the same batch are answered."""
    deployment = deploy({"delivery": {"unknown_version_timeout_seconds": 0.0}})
    deployment.start(deployment.worker())
    good = table_records()(50)
    bad = {
        "invalid_record": a_record("k1", headers={names.ID: "no uuid"}),
        "unknown_servable": a_record("k1", headers={names.SERVABLE: "nobody"}),
        "unknown_version": a_record("k1", headers={names.SERVABLE_VERSION: "99"}),
        "unknown_signature": a_record("k1", headers={names.SIGNATURE: "nobody"}),
        "invalid_input": a_record([["k1", "k2"], ["k3"]]),
        "deadline_exceeded": a_record("k1", headers={names.DEADLINE: "2001-01-01T00:00:00Z"}),
    }
    traffic = deployment.traffic

    traffic.publish([*good[:25], *bad.values(), *good[25:]])
    traffic.until_answered(LIMIT_SECONDS)

    assert traffic.seen.reasons == {record.key: reason for reason, record in bad.items()}
    assert traffic.seen.answers.keys() == {record.key for record in good}


def test_a_worker_that_would_give_everything_up_stops_reading(deploy: Deploy) -> None:
    """The breaker keeps a topic from being emptied into dead letters; readiness says why."""
    deployment = deploy({"delivery": {"breaker_window_records": 100}})
    worker = deployment.worker()
    deployment.start(worker)
    traffic = deployment.traffic

    for _ in range(20):
        traffic.publish([a_record("k1", headers={names.SERVABLE: "nobody"}) for _ in range(100)])
        traffic.step()
    traffic.until(lambda: worker.metric("topicserve_breaker_open") == 1, LIMIT_SECONDS)

    status, page = worker.get("/readyz")
    assert status == 503
    assert "would have become dead letters" in page
    assert worker.running
    given_up = len(traffic.seen.reasons)
    assert given_up <= 100
    assert traffic.owed() > 0

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(LIMIT_SECONDS) == 3
    traffic.step()
    assert len(traffic.seen.reasons) == given_up


def test_metadata_policies_publish_or_give_up(deploy: Deploy) -> None:
    """What was declared absent is no fault; what is missing is, where the policy says so."""
    deployment = deploy({"metadata": {"on_missing": "dead_letter"}})
    deployment.start(deployment.worker())
    found = table_records()(5)
    absent = a_record("k1", headers={names.METADATA: names.METADATA_ABSENT})
    missing = a_record("k1")
    traffic = deployment.traffic

    traffic.publish([*found, absent, missing])
    traffic.until_answered(LIMIT_SECONDS)

    assert traffic.seen.metadata == {"found": 5, "absent": 1}
    assert traffic.seen.reasons == {missing.key: "metadata_missing"}


def test_metadata_that_comes_late_is_waited_for(deploy: Deploy, valkey: RedisServer) -> None:
    """A producer in another order than ours loses no metadata, within the time set."""
    deployment = deploy({"metadata": {"wait_seconds": LIMIT_SECONDS}}, check=_joined_late)
    worker = deployment.worker()
    deployment.start(worker)
    late = a_record("k1")
    traffic = deployment.traffic
    traffic.publish([late])
    traffic.until(lambda: worker.metric("topicserve_in_flight_records") > 0, LIMIT_SECONDS)

    with redis.Redis.from_url(valkey.redis_url) as store:
        store.set(METADATA_PREFIX + late.key.decode(), b'{"late": true}')
    traffic.until_answered(LIMIT_SECONDS)

    assert traffic.seen.metadata == {"found": 1}


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_metadata_is_deleted_after_its_result_is_published(
    deploy: Deploy, valkey: RedisServer, client: str, guarantee: str
) -> None:
    """Where asked for, Redis is left empty of what was answered, and of nothing else."""
    deployment = deploy(
        {
            "kafka": {"client": client},
            "delivery": {"guarantee": guarantee},
            "metadata": {"delete_after_publish": True},
        }
    )
    deployment.start(deployment.worker())
    records = table_records()(200)
    names_in_store = [METADATA_PREFIX + record.key.decode() for record in records]
    traffic = deployment.traffic

    with redis.Redis.from_url(valkey.redis_url) as store:
        store.set("another program's", "own")
        traffic.publish(records)
        traffic.until_answered(LIMIT_SECONDS)
        traffic.until(lambda: store.exists(*names_in_store) == 0, LIMIT_SECONDS)

        assert store.get("another program's") == b"own"
    assert traffic.seen.metadata == {"found": 200}


def _joined_late(sent: Sent, result: Result) -> None:  # noqa: ARG001 - what every check is given
    assert result.metadata == {"late": True}
