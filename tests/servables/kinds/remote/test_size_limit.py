"""How many rows fit is learnt from those that do not."""

from tests.support.stages.records import ManualClock
from topicserve.servables.kinds.remote.size_limit import SizeLimit


def test_a_size_that_does_not_fit_is_halved() -> None:
    """Down to a single row."""
    limit = SizeLimit(ManualClock())
    assert (bool(limit), limit.of(64)) == (False, 64)

    found = []
    for units in (64, 32, 3, 1):
        limit.halve(units, 10)
        found.append(limit.of(64))

    assert (bool(limit), found) == (True, [32, 16, 1, 1])


def test_larger_sizes_are_tried_after_a_while() -> None:
    """Until the size is no longer known to be too large; a long pause counts as several."""
    clock = ManualClock()
    limit = SizeLimit(clock)
    limit.halve(64, 10)
    limit.halve(32, 10)

    found = []
    for seconds in (9, 1, 10):
        clock.advance(seconds)
        found.append(limit.of(100))
    assert (found, bool(limit)) == ([16, 32, 100], False)

    limit.halve(64, 10)
    limit.halve(32, 10)
    clock.advance(3600)
    assert limit.of(100) == 100


def test_a_limit_can_be_dropped() -> None:
    """Where it turns out that the size was not at fault."""
    limit = SizeLimit(ManualClock())
    limit.halve(64, 10)
    limit.drop()

    assert (bool(limit), limit.of(64)) == (False, 64)
