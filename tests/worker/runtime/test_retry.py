import pytest

from topicserve.worker.runtime.retry import (
    RetryLoop,
    ShutdownRequestedError,
)


def test_the_first_try_does_not_wait() -> None:
    """Nor does a worker that gives up."""
    retry_loop = RetryLoop(max_pause_seconds=1000)
    tries = retry_loop.tries()

    assert next(tries) == 0
    retry_loop.shut_down()
    with pytest.raises(ShutdownRequestedError):
        next(tries)
    with pytest.raises(ShutdownRequestedError):
        next(retry_loop.tries())
