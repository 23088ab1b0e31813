import pytest

from topicserve.backends.errors import BackendUnavailableError
from topicserve.producer.publish_future import PublishFuture
from topicserve.wire.kafka_record import Place


def test_waiting_has_a_limit_of_its_own() -> None:
    """A record of which nothing is heard is told as such, also where the wait has no limit."""
    future = PublishFuture("7", limit_seconds=0.01)

    with pytest.raises(BackendUnavailableError, match="no acknowledgement of record 7"):
        future.result()
    with pytest.raises(BackendUnavailableError):
        future.exception()


def test_a_callers_limit_is_pythons_own() -> None:
    """As every future's is."""
    future = PublishFuture("7", limit_seconds=60)

    with pytest.raises(TimeoutError):
        future.result(0)


def test_what_is_done_is_told_after_the_limit_too() -> None:
    """The result, or the error."""
    done, failed = PublishFuture("7", 0), PublishFuture("8", 0)
    done.set_result(Place("digits", 2, 5))
    failed.set_exception(ValueError("no"))

    assert done.result() == ("digits", 2, 5)
    assert done.exception() is None
    with pytest.raises(ValueError, match="no"):
        failed.result()
