import gc
import weakref
from collections.abc import Iterator

import pytest

from tests.support.stages.records import ManualClock
from tests.worker.test_pipeline import World, records
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.runtime.idle_collector import IDLE_SECONDS, IdleCollector


class Cycle:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector_off() -> Iterator[None]:
    """Collect nothing but what a test asks for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_what_is_young_is_collected_when_it_is_due() -> None:
    """And not before: a collection for each poll would cost more than it gives back."""
    clock = ManualClock()
    collector, garbage = IdleCollector(clock), weakref.ref(Cycle())

    clock.advance(IDLE_SECONDS - 1)
    collector.tick()
    assert garbage() is not None
    clock.advance(1)
    collector.tick()

    assert garbage() is None


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_worker_collects_while_nothing_is_in_flight(is_busy: bool) -> None:
    """A record's way has no pause for it."""
    clock, waiting = ManualClock(), records(1)
    world = World(waiting, Guarantee.AT_LEAST_ONCE, clock=clock, shutdown_timeout_seconds=0)
    garbage: list[weakref.ref[Cycle]] = []

    def poll() -> None:
        if world.polls == 1:
            world.log.records.clear()  # no record comes
            if is_busy:
                world.stages.intake.tracker.track(waiting)
            garbage.append(weakref.ref(Cycle()))
        clock.advance(IDLE_SECONDS)
        if world.polls == 3:
            world.stop.set()

    world.each_poll = poll  # type: ignore[method-assign]

    world.run()

    assert (garbage[0]() is not None) == is_busy
