import threading
from collections.abc import Sequence

import pytest

from tests.support.stages.records import ManualClock
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    BacklogFullError,
    DeliveryTimeoutError,
    RecordTooLargeError,
    TransactionAbortedError,
)
from topicserve.backends.in_flight import InFlight
from topicserve.wire.kafka_record import OutgoingRecord

Reports = list[Sequence[BackendError | None]]


def in_flight(
    clock: ManualClock, *, records: int = 100, size_bytes: int = 10_000, timeout: float = 30.0
) -> InFlight:
    """Return the books of a producer."""
    return InFlight(records, size_bytes, timeout, clock)


def some(count: int, size_bytes: int = 10) -> list[OutgoingRecord]:
    """Return records of a size."""
    return [OutgoingRecord("topic", None, b"x" * size_bytes)] * count


def test_a_list_is_reported_when_its_last_record_is_settled() -> None:
    """Nothing is said before every record of the list has its outcome."""
    books, reports = in_flight(ManualClock()), Reports()
    pending_send = books.admit(some(3), reports.append)
    too_large = RecordTooLargeError("too large")

    pending_send.settle(2, None)
    pending_send.settle(0, too_large)
    books.report(0)
    before = list(reports)
    pending_send.settle(1, None)
    books.report(0)

    assert before == []
    assert reports == [[too_large, None, None]]
    assert books.wait_empty(0)


def test_an_empty_list_is_reported() -> None:
    """Nothing to send is reported like anything else."""
    books, reports = in_flight(ManualClock()), Reports()

    books.admit([], reports.append)
    books.report(0)

    assert reports == [[]]


def test_what_is_under_way_for_too_long_times_out() -> None:
    """At the deadline records without an outcome fail; what comes later is not reported again."""
    clock = ManualClock()
    books, reports = in_flight(clock, timeout=30), Reports()
    pending_send = books.admit(some(2), reports.append)
    pending_send.settle(0, None)

    clock.advance(29.9)
    early = books.report(0)
    clock.advance(0.1)
    late = books.report(0)
    pending_send.settle(1, None)
    again = books.report(0)

    assert (early, late, again) == (False, True, False)
    (errors,) = reports
    assert errors[0] is None
    assert isinstance(errors[1], DeliveryTimeoutError)


@pytest.mark.parametrize("bounds", [{"records": 10}, {"size_bytes": 100}])
@pytest.mark.parametrize(("delivery_seconds", "seconds"), [(0.01, None), (3600.0, 0.01)])
def test_a_full_backlog_is_refused_after_the_time_given(
    bounds: dict[str, int], delivery_seconds: float, seconds: float | None
) -> None:
    """That, or the delivery timeout: when nothing is settled in time, nothing more is taken."""
    books, reports = in_flight(ManualClock(), timeout=delivery_seconds, **bounds), Reports()
    books.admit(some(10), reports.append)

    with pytest.raises(BacklogFullError, match="10 records"):
        books.admit(some(1), reports.append, seconds)


def test_room_comes_back_when_the_client_lets_go() -> None:
    """A timeout alone frees nothing: the client may still keep what it was given."""
    clock = ManualClock()
    books, reports = in_flight(clock, records=10, timeout=0.01), Reports()
    pending_send = books.admit(some(10), reports.append)
    clock.advance(1)
    books.report(0)

    with pytest.raises(BacklogFullError):
        books.admit(some(1), reports.append)
    for index in range(10):
        pending_send.settle(index, None)

    assert books.admit(some(10), reports.append)
    assert len(reports) == 1


def test_a_list_larger_than_the_bounds_goes_alone() -> None:
    """What can never fit goes when nothing else is in progress."""
    books, reports = in_flight(ManualClock(), records=10, timeout=0.01), Reports()

    pending_send = books.admit(some(50), reports.append)

    with pytest.raises(BacklogFullError):
        books.admit(some(1), reports.append)
    for index in range(50):
        pending_send.settle(index, None)
    assert books.admit(some(50), reports.append)


def test_giving_up_says_why_and_keeps_what_is_known() -> None:
    """What was settled keeps its outcome, the rest gets the reason."""
    books, reports = in_flight(ManualClock()), Reports()
    books.admit(some(2), reports.append).settle(0, None)
    why = BackendUnavailableError("closed")

    books.give_up(why)

    assert reports == [[None, why]]
    assert books.wait_empty(0)


def test_a_report_that_raises_does_not_stop_the_others() -> None:
    """A callback that breaks its contract costs no one else a report."""

    def broken(errors: Sequence[BackendError | None]) -> None:
        raise RuntimeError(str(errors))

    books, reports = in_flight(ManualClock()), Reports()
    books.admit(some(1), broken).settle(0, None)
    books.admit(some(1), reports.append).settle(0, None)

    books.report(0)

    assert reports == [[None]]
    assert books.wait_empty(0)


def test_many_threads_settle_one_list() -> None:
    """However the outcomes come, the list is reported once."""
    books, reports = in_flight(ManualClock(), records=10_000), Reports()
    pending_send = books.admit(some(4_000), reports.append)

    def settle(first: int) -> None:
        for index in range(first, 4_000, 4):
            pending_send.settle(index, None)

    threads = [threading.Thread(target=settle, args=[first]) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    books.report(0)

    assert reports == [[None] * 4_000]


def test_a_transaction_is_written_when_all_of_it_is_reported() -> None:
    """Before that, asking waits and then asks for another try."""
    books, reports = in_flight(ManualClock()), Reports()
    books.begin_transaction()
    pending_send = books.admit(some(2), reports.append)

    with pytest.raises(BackendUnavailableError, match=r"not acknowledged in 0\.0 s"):
        books.wait_written(0)
    pending_send.settle(0, None)
    pending_send.settle(1, None)
    with pytest.raises(BackendUnavailableError):
        books.wait_written(0)
    books.report(0)

    books.wait_written(0)


def test_a_transaction_has_failed_once_the_failure_is_told() -> None:
    """Not before: anyone who aborts must know by then which record was refused."""
    books = in_flight(ManualClock())
    refused = RecordTooLargeError("2 MB")
    failures: list[Sequence[BackendError | None]] = []

    def heard(errors: Sequence[BackendError | None]) -> None:
        with pytest.raises(BackendUnavailableError):
            books.wait_written(0)
        failures.append(errors)

    books.begin_transaction()
    pending_send = books.admit(some(2), heard)
    pending_send.settle(1, refused)
    pending_send.settle(0, None)
    with pytest.raises(BackendUnavailableError):
        books.wait_written(0)
    books.report(0)

    with pytest.raises(TransactionAbortedError):
        books.wait_written(0)
    assert failures == [[None, refused]]


def test_a_transaction_is_not_failed_by_the_one_before() -> None:
    """What an abort throws away may be reported while the next transaction is filled."""
    books, reports = in_flight(ManualClock()), Reports()
    books.begin_transaction()
    before = books.admit(some(1), reports.append)

    books.begin_transaction()
    now = books.admit(some(1), reports.append)
    before.settle(0, TransactionAbortedError("aborted"))
    now.settle(0, None)
    books.report(0)

    books.wait_written(0)
