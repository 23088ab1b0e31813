"""What becomes of records that end or hang the worker that predicts them, on Apache Kafka."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Deploy
from tests.support.processes.scale import CHAOS, EVERY_WAY
from tests.support.servables.hazards import hazard_servable, install_hazard
from tests.support.traffic.accounts import Sent, a_record
from topicserve.wire.result import Result

pytestmark = pytest.mark.kafka

LIMIT_SECONDS = 90.0
MAX_ATTEMPTS = 3
# One way alone takes half a minute: it is what six starts of a worker take.
WAYS = EVERY_WAY if CHAOS else [("kafka-python", "exactly_once")]
GOOD_RECORDS = 2_000


def check_echo(sent: Sent, result: Result) -> None:
    """Compare a result with its record."""
    assert result.value == sent.instance


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_a_record_that_ends_its_worker_is_given_up_alone(
    deploy: Deploy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figures: Callable[[str], None],
    client: str,
    guarantee: str,
) -> None:
    """One that aborts the process, one that never returns; all others are answered."""
    installed = install_hazard(tmp_path)
    path = os.pathsep.join([installed, os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    delivery = {
        "guarantee": guarantee,
        "max_attempts": MAX_ATTEMPTS,
        "predict_timeout_seconds": 2.0,
        "shutdown_timeout_seconds": 5.0,
    }
    deployment = deploy(
        {"kafka": {"client": client}, "delivery": delivery},
        servables=[hazard_servable(tmp_path)],
        check=check_echo,
    )
    worker = deployment.static_worker()
    good = [a_record(f"k{number}") for number in range(GOOD_RECORDS)]
    killer, hanging = a_record("abort"), a_record("hang")
    middle = GOOD_RECORDS // 2
    deployment.traffic.publish([*good[:middle], killer, hanging, *good[middle:]])

    exit_codes: list[int | None] = []
    while deployment.traffic.owed() and len(exit_codes) <= 5 * MAX_ATTEMPTS:
        worker.start()
        worker.wait_ready()
        deployment.traffic.until(
            lambda: not worker.running or not deployment.traffic.owed(), LIMIT_SECONDS
        )
        if not worker.running:
            exit_codes.append(worker.exit_code)

    figures(f"{client}, {guarantee}: exit codes {exit_codes}, {deployment.traffic.summary()}")
    reasons = deployment.traffic.seen.reasons
    assert reasons == {killer.key: "killed_worker", hanging.key: "timed_out"}
    assert {record.key for record in good} == deployment.traffic.seen.answers.keys()
    assert worker.running
