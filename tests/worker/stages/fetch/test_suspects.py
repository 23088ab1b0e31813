"""Bodies and the quarantine: what is fetched may end the worker, too."""

import pytest

from tests.support.references.scripted_store import PREFIX, scripted
from tests.support.stages.records import a_kafka_record
from tests.worker.quarantine.test_quarantine import COUNT, Replicas
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.schema import Guarantee


@pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)
def test_a_body_that_ends_its_worker_is_given_up_alone(guarantee: Guarantee) -> None:
    """Beside suspects whose body is not there: these are given up for that, and hold up none."""
    replicas = Replicas(
        guarantee, {31}, dataref=DatarefConfig(allow=(PREFIX,)), max_retry_pause_seconds=0.005
    )
    scripted({str(n): b'{"instance": %d}' % n for n in range(COUNT) if n not in (28, 34)})
    replicas.log.records = [
        a_kafka_record(
            number,
            value=None,
            partition=number % 3,
            headers=[("ce_dataref", f"{PREFIX}/{number}".encode())],
        )
        for number in range(COUNT)
    ]

    replicas.run(at_most=6)

    expected = replicas.expected()
    missing = {number: {"dead dataref_not_found"} for number in (28, 34)}
    assert replicas.outcomes() == expected | {
        record_id: missing[number]
        for number, record_id in enumerate(sorted(expected))
        if number in missing
    }
