"""Replicas that join and leave all the time, on Apache Kafka."""

import random
import signal
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Deploy
from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import SCALE, WAYS, chaos_only
from tests.support.processes.worker_process import WorkerProcess
from tests.support.servables.table import table_records
from tests.support.traffic.accounts import Sent

pytestmark = [pytest.mark.kafka, chaos_only]

RECORDS_A_STEP = 40
FEWEST, MOST = 2, 5
LIMIT_SECONDS = 60.0
SHUTDOWN_SECONDS = 40.0


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_a_rebalance_storm_loses_nothing(
    deploy: Deploy, figures: Callable[[str], None], client: str, guarantee: str
) -> None:
    """A replica joins or leaves every second; those that leave exit 0."""
    deployment = deploy({"kafka": {"client": client}, "delivery": {"guarantee": guarantee}})
    deployment.start(*(deployment.worker() for _ in range(FEWEST + 1)))
    traffic, make = deployment.traffic, table_records()
    traffic.for_outcomes(200, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))

    left, in_flight = _storm(deployment, lambda: make(RECORDS_A_STEP))
    traffic.until_answered(LIMIT_SECONDS)

    figures(traffic.summary())
    assert [worker.wait(SHUTDOWN_SECONDS) for worker in left] == [0] * len(left)
    assert not traffic.seen.dead_letters
    assert traffic.seen.duplicates <= (0 if guarantee == "exactly_once" else in_flight)


def _storm(
    deployment: Deployment, make: Callable[[], list[Sent]]
) -> tuple[list[WorkerProcess], int]:
    """Let a replica join or leave every second.

    Returns those that left, and how many records were uncommitted at all moves together.
    """
    moves = random.Random(7)
    present, left = list(deployment.workers), []
    in_flight = 0
    for _ in range(int(SCALE.storm_seconds)):
        if len(present) < MOST and (len(present) <= FEWEST or moves.random() < 0.5):
            worker = deployment.worker()
            worker.start()
            present.append(worker)
        else:
            # The one that has been there longest, so that it has started for certain.
            worker = present.pop(0)
            worker.send_signal(signal.SIGTERM)
            left.append(worker)
        in_flight += deployment.traffic.uncommitted_records(deployment.group_id)
        deployment.traffic.for_seconds(1.0, make)
    return left, in_flight
