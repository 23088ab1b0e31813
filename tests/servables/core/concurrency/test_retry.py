import pytest

from tests.support.servables.lifecycle import ManualExecutor, ManualTimer
from topicserve.servables.core.concurrency.retry import RetriedCall, RetryPolicy
from topicserve.servables.core.errors import (
    CancelledError,
    ServableError,
    UnavailableError,
    UnimplementedError,
)


class Calls:
    """A retried call by hand: what it raises, how often it was made, how it ended."""

    def __init__(self, policy: RetryPolicy, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0
        self.ended: list[ServableError | None] = []
        self.executor = ManualExecutor()
        self.timer = ManualTimer()
        self.call = RetriedCall(
            "the call",
            self._call,
            lambda work: self.executor.submit("stream", work),
            self.timer,
            policy,
            self.ended.append,
        )

    def start(self) -> None:
        self.call.start()
        self.executor.settle()

    def advance(self, seconds: float) -> None:
        self.timer.advance(seconds)
        self.executor.settle()

    def _call(self) -> None:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)


FAILED = UnavailableError("not yet")
POLICY = RetryPolicy(max_retries=2, interval_seconds=1)


def test_a_call_that_succeeds_in_the_end_has_succeeded() -> None:
    """After the pauses that lie between its tries."""
    calls = Calls(POLICY, FAILED, FAILED)

    calls.start()
    calls.advance(1)
    calls.advance(2)

    assert calls.count == 3
    assert calls.ended == [None]


def test_a_call_that_always_fails_ends_with_the_last_error() -> None:
    """After one try and so many more as there are retries."""
    last = UnavailableError("still not")
    calls = Calls(POLICY, FAILED, FAILED, last, FAILED)

    calls.start()
    calls.advance(100)
    calls.advance(100)
    calls.advance(100)

    assert calls.count == 3
    assert calls.ended == [last]


def test_an_error_that_is_not_worth_it_is_not_retried() -> None:
    """The policy decides with the error in hand."""
    error = UnimplementedError("never")
    policy = RetryPolicy(should_retry=lambda error: not isinstance(error, UnimplementedError))
    calls = Calls(policy, error)

    calls.start()

    assert calls.count == 1
    assert calls.ended == [error]
    assert calls.timer.pauses == []


def test_pauses_grow_up_to_a_limit() -> None:
    """They double, and no exponent overflows."""
    policy = RetryPolicy(interval_seconds=0.5, max_interval_seconds=60)

    assert [policy.pause_seconds(failures) for failures in (1, 2, 3, 8, 9, 5000)] == [
        *(0.5, 1, 2),
        *(60, 60, 60),
    ]


def test_a_cancel_during_a_pause_ends_it_now() -> None:
    """With the error before the pause, and without another try."""
    calls = Calls(POLICY, FAILED)
    calls.start()
    assert calls.timer.pauses == [1]

    calls.call.cancel()
    calls.executor.settle()

    assert calls.count == 1
    assert calls.ended == [FAILED]
    assert calls.timer.pauses == []


def test_a_cancel_before_the_first_try_makes_none() -> None:
    """The call ends as cancelled."""
    calls = Calls(POLICY)
    calls.call.start()

    calls.call.cancel()
    calls.executor.settle()

    assert calls.count == 0
    (error,) = calls.ended
    assert isinstance(error, CancelledError)


def test_a_cancel_during_a_try_makes_it_the_last() -> None:
    """Its error is the result; its success would be too."""
    calls = Calls(POLICY)
    calls.errors = [FAILED]
    original = calls._call

    def cancelled_meanwhile() -> None:
        calls.call.cancel()
        original()

    calls.call._call = cancelled_meanwhile
    calls.start()

    assert calls.count == 1
    assert calls.ended == [FAILED]


@pytest.mark.parametrize("error", [ValueError("odd"), OSError("disk")])
def test_anything_raised_counts_as_a_failure(error: Exception) -> None:
    """It comes as a ServableError that names it."""
    calls = Calls(RetryPolicy(max_retries=0), error)

    calls.start()

    (ended,) = calls.ended
    assert isinstance(ended, ServableError)
    assert type(error).__name__ in str(ended)
    assert ended.__cause__ is error
