"""A scripted store, a clock that the tests move, and up to eight tries at once."""

import heapq
import itertools
from collections import Counter

import pytest

from tests.support.stages.logged import Logged
from tests.support.stages.records import a_request
from topicserve.backoff import Backoff
from topicserve.worker.stages.fetch.store_queue import StoreQueue
from topicserve.worker.stages.fetch.waiting import Waiting

THREADS = 8
BACKOFF = Backoff(0.05, 10.0)


class Run:
    """Fetches from one store in simulated time; a try takes as long as the test says."""

    def __init__(self, bad: set[int], seconds: float = 0.01, bad_seconds: float = 0.01) -> None:
        self.queue = StoreQueue("store", BACKOFF)
        self.bad = bad
        self.seconds = seconds
        self.bad_seconds = bad_seconds
        self.is_away = False
        self.now = 100.0
        self.done: dict[int, float] = {}
        self.asked: list[tuple[float, int, int]] = []
        """When, for which body, and how many were read then."""
        self._out: list[tuple[float, int, float, Waiting]] = []

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.queue.put(Waiting(a_request(number), 0, number))

    def until(self, end: float) -> None:
        """Let time pass."""
        while True:
            while len(self._out) < THREADS and (one := self.queue.take(self.now)) is not None:
                self._begin(one)
            at = self.queue.next_at() if len(self._out) < THREADS else None
            events = [one[0] for one in self._out[:1]] + ([] if at is None else [at])
            if not events or min(events) > end:
                self.now = end
                return
            self.now = max(self.now, min(events))
            while self._out and self._out[0][0] <= self.now:
                self._end(*heapq.heappop(self._out)[2:])

    def _begin(self, one: Waiting) -> None:
        fails = self.is_away or one.number in self.bad
        takes = self.bad_seconds if fails else self.seconds
        heapq.heappush(self._out, (self.now + takes, one.number, self.now, one))
        self.asked.append((self.now, one.number, len(self._out)))

    def _end(self, started: float, one: Waiting) -> None:
        self.queue.ended(one)
        if not self.is_away and one.number not in self.bad:
            self.queue.answered(self.now)
            self.done[one.number] = self.now
            return
        is_store = self.queue.failed(one, started, self.now, "away")
        if is_store and one.is_probe:
            self.queue.put(one)
            return
        one.failures += 1
        self.queue.put(one, self.now + BACKOFF.pause_seconds(one.failures))


@pytest.mark.parametrize(("bad", "within"), [(1, 5.0), (2, 5.0), (THREADS, 5.0), (40, 1000.0)])
@pytest.mark.parametrize("bad_seconds", [0.01, 1.0])
def test_bodies_that_always_fail_hold_up_no_others(
    bad: int, within: float, bad_seconds: float
) -> None:
    """Wherever they lie in the topic: soon, and at the latest when each was asked for once."""
    for first in (0, 15, 30):
        run = Run(set(range(first, first + bad)), bad_seconds=bad_seconds)
        good = set(range(30 + bad)) - run.bad
        run.put(*range(30 + bad))

        run.until(run.now + within)

        assert set(run.done) == good


def test_one_body_that_fails_while_no_other_waits_holds_up_none_that_come() -> None:
    """It waits for its own pause, and the next one is asked for at once."""
    run = Run({0})
    run.put(0)
    run.until(run.now + 60.0)
    arrived = run.now
    assert run.queue.problem == "away"

    run.put(1)
    run.until(run.now + 1.0)

    assert run.done == {1: arrived + run.seconds}
    assert run.queue.problem is None


def test_bodies_that_failed_while_others_were_answered_back_off_alone() -> None:
    """Later ones are asked for at once, and the bad ones with growing pauses."""
    run = Run(set(range(10)))
    run.put(*range(12))
    run.until(run.now + 60.0)
    run.put(50)
    run.until(run.now + 60.0)
    arrived = run.now

    for number in range(100, 200):
        run.put(number)
        run.until(run.now + 0.1)

    assert all(run.done[n] - arrived < (n - 99) * 0.1 for n in range(100, 200))
    tries = Counter(number for at, number, _ in run.asked if number < 10)
    assert max(tries.values()) < 40
    assert run.queue.problem is None


def test_a_store_that_is_away_is_asked_for_each_body_in_turn(logged: Logged) -> None:
    """One at a time, the oldest every other time, and it is told once."""
    run = Run(set())
    run.is_away = True
    run.put(*range(20))
    begun = run.now

    run.until(begun + 600.0)

    later = [one for one in run.asked if one[0] > begun]
    assert {at_once for _, _, at_once in later} == {1}
    pauses = [b[0] - a[0] for a, b in itertools.pairwise(later)]
    assert min(pauses[10:]) >= 10.0
    assert {number for _, number, _ in later} == set(range(20))
    assert [one["problem"] for one in logged("body_store_unavailable")] == ["away"]
    assert run.queue.problem == "away"

    run.is_away = False
    run.until(run.now + 11.0)

    assert len(run.done) == 20
    assert len(logged("body_store_recovered")) == 1


def test_a_probe_that_fails_does_not_count_against_its_body() -> None:
    """Its time has not begun, so that few records are given up in a long outage."""
    queue = StoreQueue("store", BACKOFF)
    bodies = [Waiting(a_request(number), 0, number) for number in range(3)]
    for one in bodies:
        queue.put(one)
    probes = []
    for turn in range(6):
        taken = queue.take(100.0 * (turn + 1))
        assert taken is not None
        queue.ended(taken)
        assert queue.failed(taken, 100.0 * (turn + 1), 100.0 * (turn + 1) + 1, "away")
        probes.append(taken.is_probe)
        queue.put(taken)

    assert probes == [False, True] * 3
    assert {one.probes for one in bodies} == {1}


def test_an_older_try_that_hangs_does_not_hold_up_the_probe() -> None:
    """It is waited for a moment, since it mostly fails like the others."""
    queue = StoreQueue("store", BACKOFF)
    for number in range(3):
        queue.put(Waiting(a_request(number), 0, number))
    hanging, failing = queue.take(100.0), queue.take(100.0)
    assert hanging is not None
    assert failing is not None
    queue.ended(failing)
    queue.failed(failing, 100.0, 101.0, "away")

    assert queue.take(101.5) is None
    assert queue.take(102.0) is not None
    assert queue.take(110.0) is None, "one at a time"
