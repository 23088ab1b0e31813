import math

import numpy as np
import pytest

from tests.support.stages.records import an_id
from tests.support.traffic.demo_results import METADATA, VALUE, a_result
from topicserve.demo.digits import Digits
from topicserve.demo.ledger import DemoLedger
from topicserve.demo.summary import Summary, summarize

SEVEN, ONE = np.eye(10, dtype=np.float32)[[7, 1]]
# Row 0 is held out, row 1 is not; both show a seven.
DIGITS = Digits(np.zeros((2, 64), np.float32), np.array([7, 7]))


def a_ledger() -> DemoLedger:
    """Return a ledger whose version 1 takes row 1 for a one, and whose version 2 knows better."""
    return DemoLedger({1: np.stack([SEVEN, ONE]), 2: np.stack([SEVEN, SEVEN])})


def answer(ledger: DemoLedger, number: int, *, row: int, read_at: float, **changes: object) -> None:
    """Publish a record at second 100 and read its result."""
    metadata = METADATA | {"row": row}
    if an_id(number) not in ledger.ids():
        ledger.publish(an_id(number), metadata)
    version = changes.get("version", 1)
    one = row == 1 and version == 1
    value = VALUE if not one else {"digit": 1, "name": "one", "probabilities": ONE.tolist()}
    result = a_result(number, **{"metadata": metadata, "value": value} | changes)
    ledger.read(result, read_at=read_at)


def a_good_summary(**changes: int) -> Summary:
    """Return the summary of two versions and two workers that answered everything."""
    ledger = a_ledger()
    answer(ledger, 1, row=0, read_at=100.01)
    answer(ledger, 2, row=1, read_at=100.02)
    answer(ledger, 3, row=1, read_at=104.0, version=2, worker_id="worker-2")
    answer(ledger, 3, row=1, read_at=104.5, version=2, worker_id="worker-2")
    return summarize(ledger, DIGITS, changes.get("dead_letters", 0), killed_at=103.0)


def test_counts_what_came_back_and_from_whom() -> None:
    """Records, results, duplicates, and the shares of versions and workers."""
    summary = a_good_summary()

    assert (summary.records, summary.results, summary.lost, summary.duplicates) == (3, 3, 0, 1)
    assert summary.by_worker == {"worker-1": 2, "worker-2": 1}
    assert {version: one.results for version, one in summary.by_version.items()} == {1: 2, 2: 1}
    assert summary.problems() == []


def test_accuracy_is_against_the_labels_in_the_metadata() -> None:
    """For all rows, and for those that were held out; unknown where none of those came."""
    summary = a_good_summary()

    assert (summary.by_version[1].all_rows, summary.by_version[1].held_out_rows) == (0.5, 1.0)
    assert summary.by_version[2].all_rows == 1.0
    assert math.isnan(summary.by_version[2].held_out_rows)


def test_times_are_from_writing_to_reading() -> None:
    """Latency in all and until the kill, the longest silence, and the rate over all of it."""
    summary = a_good_summary()

    assert summary.latency_p50_seconds == pytest.approx(0.02)
    assert summary.latency_p99_seconds == pytest.approx(4.0, rel=0.03)
    assert summary.latency_before_kill_p99_seconds == pytest.approx(0.02, rel=0.01)
    assert summary.longest_silence_seconds == pytest.approx(3.98)
    assert summary.records_per_second == pytest.approx(3 / 4)


def test_what_was_lost_wrong_or_given_up_is_a_problem() -> None:
    """So that the demo fails when it should."""
    ledger = a_ledger()
    answer(ledger, 1, row=0, read_at=101)
    answer(ledger, 2, row=0, read_at=102, version=2, worker_id="worker-2", metadata=None)
    ledger.publish(an_id(3), METADATA)

    problems = summarize(ledger, DIGITS, dead_letters=4, killed_at=200).problems()

    assert problems == [
        "1 record(s) have no result",
        "1 result(s) are wrong",
        "4 record(s) were given up",
    ]


def test_a_version_or_a_worker_that_never_answered_is_a_problem() -> None:
    """Nothing may be lost because nothing was shown."""
    ledger = a_ledger()
    answer(ledger, 1, row=0, read_at=101)

    problems = summarize(ledger, DIGITS, 0, killed_at=200).problems()

    assert problems == [
        "only version(s) [1] answered; 2 were released",
        "only ['worker-1'] answered; 2 workers were started",
    ]


def test_nothing_at_all_is_summed_up_too() -> None:
    """A demo that failed at once still says so."""
    summary = summarize(a_ledger(), DIGITS, 0, killed_at=0)

    assert (summary.results, summary.records_per_second, summary.longest_silence_seconds) == (
        0,
        0,
        0,
    )
    assert summary.problems()
