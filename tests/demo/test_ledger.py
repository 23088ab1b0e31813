from typing import Any

import numpy as np
import pytest

from tests.support.stages.records import an_id
from tests.support.traffic.demo_results import METADATA, SURE_OF_SEVEN, VALUE, a_ledger, a_result
from topicserve.demo.ledger import MAX_PROBLEMS
from topicserve.wire.result import MetadataStatus


def test_what_is_published_is_owed_until_its_result_is_read() -> None:
    """Nothing is lost without being missed."""
    ledger = a_ledger(1, 2)

    ledger.read(a_result(1), read_at=100.5)

    assert (ledger.published, ledger.owed, ledger.wrong) == (2, 1, 0)
    assert ledger.ids() == [an_id(1), an_id(2)]
    answer = ledger.answers[an_id(1)]
    assert (answer.digit, answer.name, answer.worker_id) == (7, "seven", "worker-1")
    assert answer.latency_seconds == 0.5


def test_a_second_result_is_a_duplicate() -> None:
    """The first one counts, and both are checked."""
    ledger = a_ledger(1)

    ledger.read(a_result(), read_at=101)
    ledger.read(a_result(), read_at=109)

    assert (ledger.duplicates, ledger.owed, ledger.wrong) == (1, 0, 0)
    assert ledger.answers[an_id(1)].read_at == 101


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"record_id": an_id(9)}, "never published"),
        ({"metadata": METADATA | {"row": 1}}, "metadata"),
        ({"metadata_status": MetadataStatus.MISSING}, "missing"),
        ({"version": 2}, "never released"),
        ({"value": VALUE | {"digit": 1}}, "predicted"),
        ({"value": VALUE | {"name": "one"}}, "predicted"),
        ({"value": VALUE | {"probabilities": [0.1] * 10}}, "predicted"),
        ({"value": VALUE | {"probabilities": [1.0]}}, "predicted"),
        ({"value": VALUE | {"probabilities": []}}, "no prediction"),
        ({"value": {"digit": 7}}, "no prediction"),
        ({"value": [7]}, "no prediction"),
    ],
)
def test_a_result_that_is_not_as_it_should_be_is_wrong(
    changes: dict[str, Any], problem: str
) -> None:
    """Metadata, version, and the prediction that the version's own weights give."""
    ledger = a_ledger(1)

    ledger.read(a_result(**changes), read_at=101)

    assert ledger.wrong == 1
    assert problem in ledger.problems[0]


def test_another_order_of_sums_is_not_wrong() -> None:
    """TensorFlow and numpy add in different orders."""
    ledger = a_ledger(1)
    nearly = (SURE_OF_SEVEN[0] + np.float32(1e-6)).tolist()

    ledger.read(a_result(value=VALUE | {"probabilities": nearly}), read_at=101)

    assert ledger.wrong == 0


def test_descriptions_of_what_is_wrong_are_bounded() -> None:
    """All are counted, the first are told."""
    ledger = a_ledger(*range(30))

    for number in range(30):
        ledger.read(a_result(number, version=3), read_at=101)

    assert (ledger.wrong, len(ledger.problems)) == (30, MAX_PROBLEMS)
