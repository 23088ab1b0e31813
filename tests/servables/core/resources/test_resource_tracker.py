import pytest

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.resources.resource_allocation import (
    MAIN,
    RAM_IN_BYTES,
    Resource,
    main_ram,
)
from topicserve.servables.core.resources.resource_tracker import ResourceTracker
from topicserve.servables.core.resources.resource_util import ResourceUtil

GPU0, GPU1 = Resource("gpu", RAM_IN_BYTES, 0), Resource("gpu", RAM_IN_BYTES, 1)
ANY_GPU = Resource("gpu", RAM_IN_BYTES)
RAM = Resource(MAIN, RAM_IN_BYTES, 0)
UTIL = ResourceUtil({MAIN: 1, "gpu": 2})


def a_tracker() -> ResourceTracker:
    """Return one of 16 units of main memory, and 16 on each of two GPUs."""
    return ResourceTracker({RAM: 16, GPU0: 16, GPU1: 16}, UTIL)


def test_the_total_must_be_bound() -> None:
    """There must be no doubt where it is."""
    with pytest.raises(InvalidArgumentError, match="must be bound"):
        ResourceTracker({ANY_GPU: 32}, UTIL)


def test_the_total_is_normalized() -> None:
    """Without zeros, and the only main memory is instance 0."""
    assert ResourceTracker({**main_ram(16), GPU0: 0}, UTIL).total == {RAM: 16}


def test_what_is_used_can_be_taken_from_scratch() -> None:
    """As the sum of allocations."""
    tracker = a_tracker()
    tracker.recompute_used([main_ram(3), {GPU0: 4}, {**main_ram(1), ANY_GPU: 2}])
    assert tracker.used == {RAM: 4, GPU0: 4, ANY_GPU: 2}

    tracker.recompute_used([])

    assert tracker.used == {}


def test_what_fits_is_reserved() -> None:
    """Beside what is used, bound amounts with bound ones."""
    tracker = a_tracker()
    tracker.recompute_used([{RAM: 8, GPU0: 16}])

    assert tracker.reserve({RAM: 8, ANY_GPU: 16})
    assert tracker.used == {RAM: 16, GPU0: 16, ANY_GPU: 16}


def test_an_unbound_amount_in_use_counts_on_every_instance() -> None:
    """No one knows on which it is."""
    tracker = a_tracker()
    tracker.recompute_used([{ANY_GPU: 10}])

    assert tracker.reserve({GPU1: 6})
    assert not tracker.reserve({GPU0: 7})


@pytest.mark.parametrize("asked", [{RAM: 9}, {GPU0: 1}, {ANY_GPU: 17}])
def test_what_does_not_fit_changes_nothing(asked: dict[Resource, int]) -> None:
    """It is refused as a whole."""
    tracker = a_tracker()
    tracker.recompute_used([{RAM: 8, GPU0: 16}])

    assert not tracker.reserve(asked)

    assert tracker.used == {RAM: 8, GPU0: 16}


def test_an_estimate_that_makes_no_sense_is_an_error() -> None:
    """It names the resource; nothing is reserved."""
    tracker = a_tracker()

    with pytest.raises(InvalidArgumentError, match="unknown device"):
        tracker.reserve({Resource("tpu", RAM_IN_BYTES): 1})
    with pytest.raises(InvalidArgumentError, match="has 2 instances"):
        tracker.reserve({Resource("gpu", RAM_IN_BYTES, 2): 1})
    with pytest.raises(InvalidArgumentError, match="negative amount"):
        tracker.reserve({RAM: -1})

    assert tracker.used == {}


def test_what_could_never_fit_is_known_without_asking_what_is_used() -> None:
    """It would not fit into an empty machine."""
    tracker = a_tracker()
    tracker.recompute_used([{RAM: 16}])

    assert tracker.could_ever_fit({RAM: 16})
    assert not tracker.could_ever_fit({RAM: 17})
