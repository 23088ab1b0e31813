from itertools import islice

import pytest

from topicserve.worker.runtime.retry import (
    FIRST_PAUSE_SECONDS,
    RetryLoop,
    ShutdownRequestedError,
    pauses,
)


def test_pauses_grow_to_the_limit() -> None:
    """Doubling, each at most a fifth shorter than its due."""
    found = list(islice(pauses(max_pause_seconds=1.0), 20))

    due = [min(FIRST_PAUSE_SECONDS * 2**number, 1.0) for number in range(20)]
    assert all(0.8 * d <= pause <= d for pause, d in zip(found, due, strict=True))


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
