import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge

from tests.support.records import ManualClock
from topicserve.worker.processor import Processor
from topicserve.worker.shared_core import LOOK_SECONDS, NO_CORE, SharedCore, choose_core

ALL = frozenset({0, 1, 2})


class FakeProcessor(Processor):
    """Cores that are as busy as a test says, and what threads were told."""

    def __init__(self) -> None:
        self.places: dict[int, frozenset[int]] = {}
        self.cores = dict.fromkeys(ALL, 0.0)
        self.threads = 0.0
        self.error: OSError | None = None

    def allowed(self) -> frozenset[int]:
        return ALL

    def pin(self, thread_id: int, cores: Set[int]) -> None:
        if self.error is not None:
            raise self.error
        self.places[thread_id] = frozenset(cores)

    def busy_seconds(self) -> dict[int, float]:
        return dict(self.cores)

    def thread_seconds(self, thread_id: int) -> float:
        return self.threads if thread_id == threading.get_native_id() else 0.0


class World:
    """A shared core over a fake processor; `chance` is what the dice say."""

    def __init__(self) -> None:
        self.processor = FakeProcessor()
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        self.gauge = Gauge("core", "", registry=self.registry)
        self.chance = 0.0
        self.core = SharedCore(self.processor, self.gauge, self.clock, lambda: self.chance)
        self.me = threading.get_native_id()

    def spend(self, *shares: float, ours: float = 0.5) -> None:
        """Let time pass in which each core was busy for a share of it, and look."""
        for core, share in enumerate(shares):
            self.processor.cores[core] += share * LOOK_SECONDS
        self.processor.threads += ours * LOOK_SECONDS
        self.clock.advance(LOOK_SECONDS)
        self.core.tick()

    def start(self) -> None:
        """Have this thread share the core 1."""
        self.core.join([threading.current_thread()])
        self.core.tick()
        self.spend(0.9, 0.0, 0.9)
        assert (self.shown, self.place) == (1, {1})

    @property
    def place(self) -> Set[int] | None:
        """Return where this thread was last told to run."""
        return self.processor.places.get(self.me)

    @property
    def shown(self) -> float | None:
        """Return what the gauge says."""
        return self.registry.get_sample_value("core")


@contextmanager
def another_thread() -> Iterator[threading.Thread]:
    """Have a thread that lives for a while."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        yield thread
    finally:
        done.set()
        thread.join()


def test_the_least_busy_core_is_shared_once_it_is_known() -> None:
    """How busy a core is takes two looks to see."""
    world = World()
    world.core.join([threading.current_thread()])
    world.core.tick()
    assert world.place == ALL
    assert world.shown == NO_CORE
    world.spend(0.5, 0.1, 0.4)
    assert world.place == {1}
    assert world.shown == 1


def test_threads_that_mostly_wait_share_nothing() -> None:
    """They are woken soonest wherever there is room; those that share already do a while longer."""
    world = World()
    world.core.join([threading.current_thread()])
    world.core.tick()
    world.spend(0.9, 0.0, 0.9, ours=0.2)
    assert world.place == ALL
    world.spend(0.9, 0.0, 0.9, ours=0.3)
    assert world.place == {1}
    world.spend(0.9, 0.2, 0.9, ours=0.2)
    assert world.place == {1}
    world.spend(0.9, 0.05, 0.9, ours=0.05)
    assert world.place == ALL
    assert world.shown == NO_CORE


def test_threads_that_join_later_come_to_the_same_core() -> None:
    """Whatever thread it is."""
    world = World()
    world.start()
    with another_thread() as thread:
        world.core.join([thread])
        assert world.processor.places[thread.native_id or 0] == {1}


def test_one_s_own_work_does_not_drive_one_away() -> None:
    """A core that is busy with our threads alone is a quiet one."""
    world = World()
    world.start()
    world.spend(0.2, 1.0, 0.2, ours=0.95)
    assert world.place == {1}


def test_others_that_come_to_the_core_drive_one_away() -> None:
    """At a look that falls out so."""
    world = World()
    world.start()
    world.chance = 0.9
    world.spend(0.1, 1.0, 0.5, ours=0.4)
    assert world.place == {1}
    world.chance = 0.0
    world.spend(0.1, 1.0, 0.5, ours=0.4)
    assert world.place == {0}
    assert world.shown == 0


def test_nothing_is_looked_at_in_between() -> None:
    """A look reads files."""
    world = World()
    world.start()
    world.processor.cores[1] += 100
    world.clock.advance(LOOK_SECONDS / 2)
    world.core.tick()
    assert world.place == {1}


def test_apart_a_thread_runs_anywhere() -> None:
    """Also where the core changes meanwhile, and afterwards it is with the others again."""
    world = World()
    world.start()
    with world.core.apart():
        assert world.place == ALL
        world.spend(0.0, 1.0, 1.0)
        assert world.shown == 0
        assert world.place == ALL
    assert world.place == {0}


def test_apart_ends_with_an_error() -> None:
    """A prediction may raise anything."""
    world = World()
    world.start()
    with pytest.raises(ZeroDivisionError), world.core.apart():
        raise ZeroDivisionError
    assert world.place == {1}


def test_a_stranger_s_place_is_left_alone() -> None:
    """A shadow predicts too, and shares no core."""
    world = World()
    world.spend(0.0, 0.0, 0.0)
    with world.core.apart():
        pass
    assert world.processor.places == {}


def test_a_thread_that_has_ended_is_forgotten() -> None:
    """Its id may be another thread's by now."""
    world = World()
    world.core.join([threading.current_thread()])
    with another_thread() as thread:
        world.core.join([thread])
    world.processor.places.clear()
    world.core.tick()
    world.spend(0.9, 0.0, 0.9)
    assert world.processor.places == {world.me: {1}}


def test_where_threads_cannot_be_told_nothing_more_is_tried() -> None:
    """A sandbox may forbid it, or a core be taken away."""
    world = World()
    world.start()
    world.processor.error = PermissionError("not here")
    world.spend(0.0, 1.0, 1.0)
    assert world.shown == NO_CORE
    world.processor.error = None
    world.processor.places.clear()
    world.spend(0.0, 1.0, 1.0)
    with world.core.apart():
        pass
    assert world.processor.places == {}


def test_where_cores_cannot_be_seen_threads_are_let_go() -> None:
    """Better on any core than on one that may be crowded."""
    world = World()
    world.start()

    def unreadable() -> dict[int, float]:
        raise PermissionError("not here")

    world.processor.busy_seconds = unreadable  # type: ignore[method-assign]
    world.spend(0.0, 0.0, 0.0)
    assert world.place == ALL
    assert world.shown == NO_CORE


def test_cores_of_which_nothing_is_told_are_not_chosen() -> None:
    """Some sandboxes tell nothing of any core; then all is left to the system."""
    world = World()
    world.processor.cores = {}
    world.core.join([threading.current_thread()])
    world.core.tick()
    world.spend()
    assert world.place == ALL
    assert world.shown == NO_CORE


def test_closed_it_lets_all_go() -> None:
    """What the process does next is no business of ours."""
    world = World()
    world.start()
    world.core.close()
    assert world.place == ALL
    assert world.shown == NO_CORE


def test_without_a_processor_nothing_happens() -> None:
    """On another system, or where the configuration says so."""
    registry = CollectorRegistry()
    core = SharedCore(None, Gauge("core", "", registry=registry))
    core.join([threading.current_thread()])
    core.tick()
    with core.apart():
        pass
    core.close()
    assert registry.get_sample_value("core") == NO_CORE


loads = st.dictionaries(st.integers(0, 9), st.floats(0, 1), min_size=1)


@given(loads, st.none() | st.integers(0, 9), st.floats(0, 1, exclude_max=True))
def test_a_core_is_kept_or_the_new_one_is_as_good_as_any(
    loads: dict[int, float], current: int | None, dice: float
) -> None:
    """Whatever the loads are; and a move is worth it."""
    chosen = choose_core(loads, current, lambda: dice)
    assert chosen in loads
    if chosen != current:
        assert loads[chosen] <= min(loads.values()) + 0.05
        assert current not in loads or loads[current] >= loads[chosen] + 0.2


def test_workers_that_start_together_spread() -> None:
    """Of cores that are alike each has its chance."""

    def choose(dice: float) -> int:
        return choose_core({0: 0.01, 1: 0.0, 2: 0.5, 3: 0.04}, None, lambda: dice)

    assert [choose(0.1), choose(0.5), choose(0.9)] == [0, 1, 3]


def test_where_no_core_is_shared_a_prediction_asks_nothing_of_the_system() -> None:
    """It comes with every batch, and an idle worker's batches are small."""
    world = World()
    world.core.join([threading.current_thread()])
    world.processor.places.clear()
    with world.core.apart():
        pass
    assert world.processor.places == {}


def test_a_core_chosen_meanwhile_is_shared_afterwards() -> None:
    """A prediction may take longer than a look is away."""
    world = World()
    world.core.join([threading.current_thread()])
    world.core.tick()
    with world.core.apart():
        world.spend(0.9, 0.0, 0.9)
        assert (world.shown, world.place) == (1, ALL)
    assert world.place == {1}
